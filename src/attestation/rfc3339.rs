//! Dates as foreign formats want them: RFC 3339 in UTC, with milliseconds. Our own documents use integers.

use alloc::{format, string::String};

use crate::time::Wall;

/// Days from 0000-03-01 to 1970-01-01 in the proleptic Gregorian calendar.
const EPOCH_DAYS: u64 = 719_468;

/// `at` as `2025-11-24T16:00:00.000Z`; `None` after the year 9999.
pub(crate) fn format(at: Wall) -> Option<String> {
    let (seconds, millis) = (at.0 / 1000, at.0 % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last one, in eras of 400 years.
    let days = days.saturating_add(EPOCH_DAYS);
    let (era, day) = (days / 146_097, days % 146_097);
    let common = day.saturating_add(day / 36_524).saturating_sub(day / 1_460).saturating_sub(day / 146_096);
    let year = common / 365;
    let start = year.saturating_mul(365).saturating_add(year / 4).saturating_sub(year / 100);
    let (year, day) = (year.saturating_add(era.saturating_mul(400)), day.saturating_sub(start));
    let month = day.saturating_mul(5).saturating_add(2) / 153;
    let day = day.saturating_sub(month.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
    let (year, month) = if month < 10 {
        (year, month.saturating_add(3))
    } else {
        (year.saturating_add(1), month.saturating_sub(9))
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    (year <= 9999)
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"))
}

/// Reads a date in UTC with a `Z`, with milliseconds or without. Anything else, and dates that do not exist, are
/// `None`.
pub(super) fn parse(text: &str) -> Option<Wall> {
    let full = if text.len() == 20 { format!("{}.000Z", text.strip_suffix('Z')?) } else { text.into() };
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = full.get(from..to)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, millis) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let (year, month) =
        if month > 2 { (year, month.checked_sub(3)?) } else { (year.checked_sub(1)?, month.checked_add(9)?) };
    let (era, year) = (year / 400, year % 400);
    let days = month
        .saturating_mul(153)
        .saturating_add(2)
        .checked_div(5)?
        .saturating_add(day)
        .checked_sub(1)?
        .saturating_add(year.saturating_mul(365))
        .saturating_add(year / 4)
        .saturating_sub(year / 100)
        .saturating_add(era.saturating_mul(146_097))
        .checked_sub(EPOCH_DAYS)?;
    let seconds = days
        .saturating_mul(86_400)
        .saturating_add(hour.saturating_mul(3600))
        .saturating_add(minute.saturating_mul(60))
        .saturating_add(second);
    let at = Wall(seconds.saturating_mul(1000).saturating_add(millis));
    // Only one text stands for an instant, so writing it again finds every date that does not exist.
    (format(at)? == full).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_dates() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_764_000_000_000, "2025-11-24T16:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format(Wall(ms)).unwrap(), text);
            assert_eq!(parse(text), Some(Wall(ms)));
        }
        assert_eq!(format(Wall(253_402_300_800_000)), None);
        assert_eq!(format(Wall(u64::MAX)), None);
        assert_eq!(parse("2025-11-24T16:00:00Z"), Some(Wall(1_764_000_000_000)));
        for bad in [
            "",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:60:00Z",
            "2025-01-01T00:00:60Z",
            "2025-01-01t00:00:00z",
            "2025-01-01 00:00:00Z",
            "2025-01-01T00:00:00+00:00",
            "1969-12-31T23:59:59Z",
            "+025-01-01T00:00:00Z",
            "2025-01-01T00:00:00.0000Z",
            "2025-01-01T00:00:00.00\u{e9}Z",
            "0000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_has_one_text(ms in 0u64..253_402_300_800_000) {
            prop_assert_eq!(parse(&format(Wall(ms)).unwrap()), Some(Wall(ms)));
        }
    }
}
