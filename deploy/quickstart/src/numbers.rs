//! Numbers as people read them.

/// With a comma between thousands: 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share from 0 to 1: 94.3 %. Rounded down, so that 100.0 % is said of nothing less.
pub(crate) fn percent(share: f64) -> String {
    // What is a tenth of a percent but for the last bit of a double is not to become a tenth less.
    let tenths = (share * 1000.0 + 1e-9).floor();
    format!("{:.1} %", tenths / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (100_000, "100,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        for (share, text) in [
            (0.0, "0.0 %"),
            (0.943, "94.3 %"),
            (0.94399, "94.3 %"),
            (0.999_99, "99.9 %"),
            (1.0, "100.0 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
