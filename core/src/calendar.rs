//! Days of the proleptic Gregorian calendar, counted from 1970-01-01. There is a year 0.
//!
//! The algorithms are those of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".

/// Year, month (from 1) and day (from 1) of a day, which may lie some hundred million years from here (`civil_from_days`).
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date; one that does not exist is some other day (`days_from_civil`).
#[must_use]
pub const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - if month <= 2 { 1 } else { 0 };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The day of a date that exists.
#[must_use]
pub fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    // Only a day that exists survives being counted.
    let days = days(year, month, day);
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_days() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 1, 1), 10_957),
            ((2024, 2, 29), 19_782),
            ((0, 3, 1), -719_468),
        ] {
            assert_eq!(day(date.0, date.1, date.2), Some(days));
            assert_eq!(civil(days), date);
        }
        for (year, month, of_month) in [
            (2023, 2, 29),
            (2024, 13, 1),
            (2024, 0, 10),
            (2024, 4, 31),
            (2024, 1, 0),
        ] {
            assert_eq!(
                day(year, month, of_month),
                None,
                "{year}-{month}-{of_month}"
            );
        }
    }

    proptest! {
        #[test]
        fn each_day_has_one_date(days in -1_000_000_000_i64..1_000_000_000) {
            let (year, month, of_month) = civil(days);
            prop_assert_eq!(day(year, month, of_month), Some(days));
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&of_month));
        }
    }
}
