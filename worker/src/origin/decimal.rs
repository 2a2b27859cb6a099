//! Numbers as keys: which texts are the same number.

/// The whole number that a text is, where it is written as its canonical text is: without needless zeros, and no plus.
pub(super) fn plain_integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain = match digits.as_bytes() {
        [b'0'] => number == 0 && digits.len() == text.len(),
        [b'1'..=b'9', ..] => true,
        _ => false,
    };
    is_plain.then_some(number)
}

/// Without leading zeros, zeros behind the last digit after the point, and a sign before zero; `None` where it is no decimal
/// number, or has more than `digits_max` digits.
pub(super) fn canonical_decimal(text: &str, digits_max: usize) -> Option<String> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let length = whole.len() + fraction.len();
    if !all_digits(whole) || !all_digits(fraction) || !(1..=digits_max).contains(&length) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let sign = if whole.is_empty() && fraction.is_empty() {
        ""
    } else {
        sign
    };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_plain_where_nothing_is_needless() {
        for (text, number) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("+7", None),
            ("007", None),
            ("-07", None),
            ("00", None),
            ("", None),
            ("-", None),
            ("7 ", None),
            ("7.0", None),
        ] {
            assert_eq!(plain_integer(text), number, "{text:?}");
        }
    }
}
