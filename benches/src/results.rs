//! The file with the results: a head, and sections, of which some are measured anew and others stay.

/// `old` with the sections of `new` in place of those of the same title (after the others where there is none), and with the head
/// of `new` where it has one. A section begins with `## `, and what comes before the first is the head.
pub(crate) fn merged(old: &str, new: &str) -> String {
    let (old_head, mut sections) = cut(old);
    let (new_head, fresh) = cut(new);
    for section in fresh {
        match sections.iter_mut().find(|old| title(old) == title(section)) {
            Some(old) => *old = section,
            None => sections.push(section),
        }
    }
    let head = if new_head.trim().is_empty() {
        old_head
    } else {
        new_head
    };
    let parts = [head].into_iter().chain(sections);
    let parts: Vec<&str> = parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    parts.join("\n\n") + "\n"
}

fn title(section: &str) -> &str {
    section.lines().next().unwrap_or_default().trim()
}

/// The head, and the sections.
fn cut(text: &str) -> (&str, Vec<&str>) {
    let begins = text.match_indices("## ").map(|(at, _)| at);
    let begins: Vec<usize> = begins
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'))
        .collect();
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    let sections = begins
        .iter()
        .zip(ends)
        .map(|(from, to)| &text[*from..to])
        .collect();
    (
        &text[..begins.first().copied().unwrap_or(text.len())],
        sections,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# Title\n\n- old\n\n## One\n\n1\n\n### Of one\n\n## Two\n\n2\n";

    #[test]
    fn a_section_takes_the_place_of_the_one_with_its_title() {
        assert_eq!(
            merged(OLD, "## One\n\nanew\n"),
            "# Title\n\n- old\n\n## One\n\nanew\n\n## Two\n\n2\n"
        );
        assert_eq!(
            merged(OLD, "## Three\n\n3\n"),
            format!("{OLD}\n## Three\n\n3\n")
        );
    }

    #[test]
    fn a_head_takes_the_place_of_the_head() {
        let merged = merged(OLD, "# Title\n\n- new\n\n## Two\n\n22\n\n");
        assert_eq!(
            merged,
            "# Title\n\n- new\n\n## One\n\n1\n\n### Of one\n\n## Two\n\n22\n"
        );
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_what_is_new() {
        assert_eq!(
            merged("", "# Title\n\n## One\n\n1\n"),
            "# Title\n\n## One\n\n1\n"
        );
    }
}
