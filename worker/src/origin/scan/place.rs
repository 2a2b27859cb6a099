//! Places: where a row stands in a scan's order, as text.

use std::borrow::Cow;

use stoke_core::scan::{Order, Range};

use crate::origin::composite;
use crate::origin::sheet::Reason;

/// A part of a place: the value of one of the order's columns, in its text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::origin) struct Bound<'a> {
    /// Which column it is, of the order's.
    pub(in crate::origin) part: usize,
    pub(in crate::origin) text: Cow<'a, str>,
}

/// Between which places rows lie: each has a part for every column of the order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds<'a> {
    /// Behind this place.
    pub(super) after: Option<Vec<Bound<'a>>>,
    /// Up to this one, it included.
    pub(super) until: Option<Vec<Bound<'a>>>,
}

impl<'a> Bounds<'a> {
    /// Those of a range.
    pub(super) fn of(range: &'a Range, order: &Order) -> Result<Self, Reason> {
        let bounds = |place: &'a Option<String>| {
            let place = place.as_deref();
            place.map(|place| parts(place, order)).transpose()
        };
        Ok(Self {
            after: bounds(&range.after)?,
            until: bounds(&range.until)?,
        })
    }
}

/// The parts of a place.
fn parts<'a>(place: &'a str, order: &Order) -> Result<Vec<Bound<'a>>, Reason> {
    let texts = match order.columns().len() {
        1 => vec![place.into()],
        several => {
            let parts = composite::parts(place, several)?;
            parts.into_iter().map(Cow::Owned).collect()
        }
    };
    let bound = |(part, text)| Bound { part, text };
    Ok(texts.into_iter().enumerate().map(bound).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_text_for_one_column_and_an_array_of_texts_for_several() {
        let one = Order::ascending("id");
        let two_parts = composite::argument(["7", "a\"b"].into_iter());
        let two: Order = "views DESC, id DESC".parse().unwrap();
        for (order, texts, place) in [
            (&one, &["[7"][..], "[7"),
            (&two, &["7", "a\"b"], two_parts.as_str()),
        ] {
            let found = parts(place, order).unwrap();
            let found: Vec<(usize, &str)> = found
                .iter()
                .map(|bound| (bound.part, &*bound.text))
                .collect();
            assert_eq!(found, texts.iter().copied().enumerate().collect::<Vec<_>>());
        }
        for (place, says) in [
            ("7", "no JSON array of 2"),
            (r#"["7"]"#, "1 parts instead of 2"),
        ] {
            let range = Range {
                until: Some(place.into()),
                ..Range::default()
            };
            assert!(Bounds::of(&range, &two).unwrap_err().contains(says));
        }
    }
}
