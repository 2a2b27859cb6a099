//! What a scan goes by: some columns, and in which direction.
//!
//! All columns go in one direction. So the rows behind a place are one piece of an index, whatever the places are; with
//! `a DESC, b ASC` they are several, and where many rows have the same `a`, a database may read all of those for each page.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::value::COLUMN_BYTES_MAX;

/// The most columns that a scan goes by.
pub const COLUMNS_MAX: usize = 8;

/// The columns that order a scan, written as `ORDER BY` has them: `views DESC, id DESC`. A name with a comma, with a double
/// quote or with a direction at its end stands in double quotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Order {
    /// At least one.
    columns: Vec<String>,
    descending: bool,
}

/// Why a text is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderFault {
    /// A name is missing, or too long.
    #[error("the name of a column that a scan goes by has from 1 to {COLUMN_BYTES_MAX} bytes")]
    Name,
    /// Too many columns.
    #[error("a scan goes by {COLUMNS_MAX} columns at most")]
    Columns,
    /// The same column again.
    #[error("a scan goes by each column once, and {0:?} stands there twice")]
    Twice(String),
    /// A quoted name without its end, or with something behind it.
    #[error(
        "a name in double quotes has ASC, DESC, a comma or nothing behind it, and a quote in it is written twice: {0:?}"
    )]
    Quotes(String),
    /// Some ascend, and some descend.
    #[error(
        "all columns that a scan goes by ascend, or all descend, so that the rows behind a place are one piece of an index: {0}"
    )]
    Directions(String),
}

impl Order {
    /// By one column, from its least value on.
    #[must_use]
    pub fn ascending(column: impl Into<String>) -> Self {
        Self {
            columns: vec![column.into()],
            descending: false,
        }
    }

    /// Their names, at least one.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether it begins with the greatest values.
    #[must_use]
    pub const fn is_descending(&self) -> bool {
        self.descending
    }
}

impl FromStr for Order {
    type Err = OrderFault;

    fn from_str(text: &str) -> Result<Self, OrderFault> {
        let mut columns: Vec<(String, bool)> = Vec::new();
        for term in terms(text) {
            let (name, descending) = column(term)?;
            if !(1..=COLUMN_BYTES_MAX).contains(&name.len()) {
                return Err(OrderFault::Name);
            }
            if columns.len() == COLUMNS_MAX {
                return Err(OrderFault::Columns);
            }
            if columns.iter().any(|(other, _)| *other == name) {
                return Err(OrderFault::Twice(name));
            }
            columns.push((name, descending));
        }
        let descending = columns.iter().any(|(_, descending)| *descending);
        let mixed = columns.iter().any(|(_, other)| *other != descending);
        let order = Self {
            columns: columns.into_iter().map(|(name, _)| name).collect(),
            descending,
        };
        match mixed {
            true => Err(OrderFault::Directions(format!("write {order}"))),
            false => Ok(order),
        }
    }
}

/// The parts between commas that stand in no quotes.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
}

/// A column, and whether it descends.
fn column(term: &str) -> Result<(String, bool), OrderFault> {
    let malformed = || OrderFault::Quotes(term.chars().take(COLUMN_BYTES_MAX).collect());
    let Some(quoted) = term.strip_prefix('"') else {
        let (name, descending) = directed(term);
        return match name.contains('"') {
            true => Err(malformed()),
            false => Ok((name.to_owned(), descending)),
        };
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('"').ok_or_else(malformed)?;
        name.push_str(part);
        let Some(more) = behind.strip_prefix('"') else {
            return match directed(behind) {
                ("", descending) => Ok((name, descending)),
                _ => Err(malformed()),
            };
        };
        name.push('"');
        rest = more;
    }
}

/// What stands before a direction, and whether that is the descending one; a direction alone is one only behind a quoted name.
fn directed(term: &str) -> (&str, bool) {
    let (name, last) = match term.rsplit_once(char::is_whitespace) {
        Some((name, last)) => (name.trim_end(), last),
        None => return (term, false),
    };
    if last.eq_ignore_ascii_case("DESC") {
        (name, true)
    } else if last.eq_ignore_ascii_case("ASC") {
        (name, false)
    } else {
        (term, false)
    }
}

/// In the shortest form that means the same.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.columns.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            f.write_str(comma)?;
            let is_plain = column(name).is_ok_and(|(plain, _)| plain == *name);
            match is_plain && name == name.trim() && !name.contains(',') {
                true => f.write_str(name)?,
                false => write!(f, "\"{}\"", name.replace('"', "\"\""))?,
            }
            f.write_str(if self.descending { " DESC" } else { "" })?;
        }
        Ok(())
    }
}

impl From<Order> for String {
    fn from(order: Order) -> Self {
        order.to_string()
    }
}

impl TryFrom<String> for Order {
    type Error = OrderFault;

    fn try_from(text: String) -> Result<Self, OrderFault> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(Vec<String>, bool), OrderFault> {
        let order: Order = text.parse()?;
        Ok((order.columns, order.descending))
    }

    #[test]
    fn columns_are_written_as_order_by_has_them() {
        for (text, columns, descending) in [
            ("id", &["id"][..], false),
            ("id desc", &["id"], true),
            ("views DESC,id DESC", &["views", "id"], true),
            (" tenant , id\tAsc ", &["tenant", "id"], false),
            ("my id", &["my id"], false),
            ("desc", &["desc"], false),
            ("\"a, \"\"b\"\"\" DESC", &["a, \"b\""], true),
            ("\"id desc\"", &["id desc"], false),
            ("\"id\"", &["id"], false),
        ] {
            let columns = columns.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(read(text), Ok((columns, descending)), "{text}");
        }
    }

    #[test]
    fn what_is_no_order_is_refused_with_what_to_write() {
        let long = "x".repeat(COLUMN_BYTES_MAX + 1);
        for (text, says) in [
            ("", "1 to 256 bytes"),
            ("id,", "1 to 256 bytes"),
            (long.as_str(), "1 to 256 bytes"),
            ("a,b,c,d,e,f,g,h,i", "8 columns at most"),
            ("id, name, id", "\"id\" stands there twice"),
            ("views DESC, id", "write views DESC, id DESC"),
            ("\"id", "a name in double quotes"),
            ("\"id\" up", "a name in double quotes"),
            ("i\"d\"", "a name in double quotes"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn an_order_survives_its_text(
            columns in prop::collection::btree_set("[a-d ,\"]{0,3}( (desc|ASC))?", 1..4),
            descending: bool,
        ) {
            let columns: Vec<String> = columns.into_iter().collect();
            prop_assume!(columns.iter().all(|name| !name.is_empty()));
            let order = Order { columns, descending };
            prop_assert_eq!(order.to_string().parse(), Ok(order));
        }
    }
}
