//! Numbers for people.

/// With thousands apart: 12,345.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest unit that leaves at least one: 39.7 MB.
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be shown as 1000.0 is one of the next unit.
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A share of one: 93.6 %.
pub fn percent(share: f64) -> String {
    // 99.96 % is not all of it: only what is complete is shown as 100.0 %.
    let percent = share * 100.0;
    if share < 1.0 && percent >= 99.95 {
        "99.9 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// A rate that is given in thousandths a second: 200/s, 0.5/s.
pub fn rate_milli(milli: u64) -> String {
    let (whole, rest) = (milli / 1000, milli % 1000);
    let fraction = format!("{rest:03}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        format!("{}/s", grouped(whole))
    } else {
        format!("{}.{fraction}/s", grouped(whole))
    }
}

/// Thousandths as a decimal number without needless digits: 12.5.
pub fn milli(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn bytes_have_the_unit_that_fits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (39_700_000, "39.7 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn only_all_of_it_is_a_hundred_percent() {
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(0.999_99), "99.9 %");
        assert_eq!(percent(0.936), "93.6 %");
        assert_eq!(percent(0.0), "0.0 %");
    }

    #[test]
    fn rates_and_priorities_have_no_needless_digits() {
        assert_eq!(rate_milli(200_000), "200/s");
        assert_eq!(rate_milli(500), "0.5/s");
        assert_eq!(rate_milli(1_000_020), "1,000.02/s");
        assert_eq!(milli(12_500), "12.5");
        assert_eq!(milli(1000), "1");
        assert_eq!(milli(0), "0");
        assert_eq!(milli(100_000), "100");
    }
}
