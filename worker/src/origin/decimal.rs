//! Decimal numbers as keys: which texts are the same number.

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
