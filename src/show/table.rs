//! Tables with aligned columns.

use super::style::{Palette, Tone};

/// A column: its heading, and at which side its cells are aligned.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Texts.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Left(heading) | Self::Right(heading) => heading,
        }
    }
}

/// A cell: one line of text.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    /// A cell in a colour.
    pub fn toned(tone: Tone, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Some(tone),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: None,
        }
    }
}

/// The table as text, each row a line. Widths count characters: wide ones (東) would need a table of their own.
pub fn table(columns: &[Column], rows: &[Vec<Cell>], palette: Palette) -> String {
    let width = |n: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(n));
        let widths = cells.map(|cell| cell.text.chars().count());
        widths
            .chain([column.heading().chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(n, c)| width(n, c))
        .collect();
    let headings: Vec<Cell> = columns
        .iter()
        .map(|column| Cell::toned(Tone::Heading, column.heading()))
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        // Blanks are owed until something follows them: no line ends with any.
        let mut owed = 0;
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            let blanks = width - cell.text.chars().count();
            let (before, after) = match column {
                Column::Left(_) => (0, blanks),
                Column::Right(_) => (blanks, 0),
            };
            if !cell.text.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed + before));
                owed = 0;
                match cell.tone {
                    Some(tone) => line.push_str(&palette.paint(tone, &cell.text)),
                    None => line.push_str(&cell.text),
                }
            } else {
                owed += before;
            }
            owed += after + 2;
        }
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_blanks() {
        let columns = [
            Column::Left("NAME"),
            Column::Right("KEYS"),
            Column::Left("LABELS"),
        ];
        let rows = [
            vec!["a".into(), "1,000".into(), "".into()],
            vec!["größer".into(), "7".into(), "team=shop".into()],
            vec!["b".into(), "".into(), "x=y".into()],
        ];
        assert_eq!(
            table(&columns, &rows, Palette::PLAIN),
            "NAME     KEYS  LABELS\n\
             a       1,000\n\
             größer      7  team=shop\n\
             b              x=y\n"
        );
    }
}
