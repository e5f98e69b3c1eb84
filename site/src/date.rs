//! HTTP dates (RFC 9110 §5.6.7): parses three forms, and writes one.
//!
//! The crate `httpdate` is not used for parsing: the crate knows no year before 1970 and no leap second, and guesses
//! the century of the RFC 850 form without the current time.

use std::fmt;

const SECONDS_PER_DAY: u64 = 86_400;
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// Beginning with the weekday of 1970-01-01.
const WEEKDAYS: [&[u8]; 7] = [b"Thursday", b"Friday", b"Saturday", b"Sunday", b"Monday", b"Tuesday", b"Wednesday"];
/// The last second of the year 9999, the last in the written form.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A date in the form of `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ImfFixdate([u8; 29]);

impl ImfFixdate {
    /// The date of a second since the epoch; a second after the year 9999 becomes the last valid one.
    #[must_use]
    pub fn from_seconds(seconds: u64) -> Self {
        let seconds = seconds.min(SECONDS_MAX);
        let (days, second) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
        let civil = Civil::from_days(i64::try_from(days).unwrap_or_default());
        let weekday = usize::try_from(days % 7).ok().and_then(|place| WEEKDAYS.get(place));
        let month = usize::try_from(civil.month).ok().and_then(|number| MONTHS.get(number.checked_sub(1)?));
        // Both are always found; the fallbacks are never written.
        let [w0, w1, w2] = weekday.and_then(|name| name.first_chunk()).unwrap_or(b"   ");
        let [m0, m1, m2] = month.copied().unwrap_or(b"   ");
        let [d1, d0] = two_digits(u64::from(civil.day));
        let [y3, y2] = two_digits(civil.year.unsigned_abs() / 100);
        let [y1, y0] = two_digits(civil.year.unsigned_abs());
        let [h1, h0] = two_digits(second / 3_600);
        let [n1, n0] = two_digits(second / 60 % 60);
        let [s1, s0] = two_digits(second % 60);
        Self([
            *w0, *w1, *w2, b',', b' ', d1, d0, b' ', *m0, *m1, *m2, b' ', y3, y2, y1, y0, b' ', h1, h0, b':', n1, n0,
            b':', s1, s0, b' ', b'G', b'M', b'T',
        ])
    }

    /// The date as a field value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Always ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for ImfFixdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ImfFixdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a date in any of the three forms, as seconds since the epoch, negative before the epoch.
///
/// `now` determines the century of the RFC 850 form. A weekday that does not match the date makes the date invalid (RFC
/// 5322 §3.3, referenced by RFC 9110 §5.6.7).
#[must_use]
pub fn parse(value: &[u8], now_seconds: u64) -> Option<i64> {
    let mut text = Text(super::fields::trimmed(value));
    let (weekday, civil, second) = if text.0.get(3) == Some(&b',') {
        imf_fixdate(&mut text)?
    } else if text.0.contains(&b',') {
        rfc850_date(&mut text, now_seconds)?
    } else {
        asctime_date(&mut text)?
    };
    let days = civil.to_days()?;
    let place = usize::try_from(days.rem_euclid(7)).ok()?;
    let fits = text.0.is_empty() && WEEKDAYS.get(place)?.starts_with(weekday);
    fits.then_some(days * SECONDS_PER_DAY.cast_signed() + second)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate<'a>(text: &mut Text<'a>) -> Option<(&'a [u8], Civil, i64)> {
    let weekday = text.take(3)?;
    text.skip(b", ")?;
    let day = text.number(2)?;
    text.skip(b" ")?;
    let month = text.month()?;
    text.skip(b" ")?;
    let year = i64::from(text.number(4)?);
    text.skip(b" ")?;
    let second = text.time_of_day()?;
    text.skip(b" GMT")?;
    Some((weekday, Civil { year, month, day }, second))
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850_date<'a>(text: &mut Text<'a>, now_seconds: u64) -> Option<(&'a [u8], Civil, i64)> {
    let comma = text.0.iter().position(|&byte| byte == b',')?;
    let weekday = text.take(comma)?;
    if !WEEKDAYS.contains(&weekday) {
        return None;
    }
    text.skip(b", ")?;
    let day = text.number(2)?;
    text.skip(b"-")?;
    let month = text.month()?;
    text.skip(b"-")?;
    let year_of_century = i64::from(text.number(2)?);
    text.skip(b" ")?;
    let second = text.time_of_day()?;
    text.skip(b" GMT")?;
    let year = latest_year(year_of_century, month, day, second, now_seconds);
    Some((weekday, Civil { year, month, day }, second))
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date<'a>(text: &mut Text<'a>) -> Option<(&'a [u8], Civil, i64)> {
    let weekday = text.take(3)?;
    text.skip(b" ")?;
    let month = text.month()?;
    text.skip(b" ")?;
    let day = if text.skip(b" ").is_some() { text.number(1)? } else { text.number(2)? };
    text.skip(b" ")?;
    let second = text.time_of_day()?;
    text.skip(b" ")?;
    let year = i64::from(text.number(4)?);
    Some((weekday, Civil { year, month, day }, second))
}

/// The latest year with the two digits in which the date is at most 50 years in the future (RFC 9110 §5.6.7).
fn latest_year(year_of_century: i64, month: u32, day: u32, second: i64, now_seconds: u64) -> i64 {
    let now_seconds = now_seconds.min(SECONDS_MAX).cast_signed();
    let now = Civil::from_days(now_seconds.div_euclid(SECONDS_PER_DAY.cast_signed()));
    let limit = (now.year + 50, now.month, now.day, now_seconds.rem_euclid(SECONDS_PER_DAY.cast_signed()));
    let year = limit.0 - (limit.0 - year_of_century).rem_euclid(100);
    if (year, month, day, second) > limit { year - 100 } else { year }
}

/// A date of the Gregorian calendar.
#[derive(Debug, Clone, Copy)]
struct Civil {
    year: i64,
    /// 1 to 12.
    month: u32,
    /// 1 to 31.
    day: u32,
}

impl Civil {
    /// From days since 1970-01-01, by years that begin in March, so that the leap day is the last day.
    fn from_days(days: i64) -> Self {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: u32::try_from(month).unwrap_or(1),
            day: u32::try_from(day).unwrap_or(1),
        }
    }

    /// Days since 1970-01-01; `None` for an invalid day.
    fn to_days(self) -> Option<i64> {
        let is_leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days_in_month = match self.month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            _ => return None,
        };
        if !(1..=days_in_month).contains(&self.day) {
            return None;
        }
        let year = self.year - i64::from(self.month <= 2);
        let march_month = i64::from(if self.month > 2 { self.month - 3 } else { self.month + 9 });
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Some(year.div_euclid(400) * 146_097 + day_of_era - 719_468)
    }
}

/// The unread input.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        self.take(digits)?.iter().try_fold(0, |number, &byte| {
            let digit = char::from(byte).to_digit(10)?;
            Some(number * 10 + digit)
        })
    }

    fn month(&mut self) -> Option<u32> {
        let name = self.take(3)?;
        (1..).zip(MONTHS).find(|(_, month)| month.as_slice() == name).map(|(number, _)| number)
    }

    /// Seconds since midnight; a leap second counts as the next second.
    fn time_of_day(&mut self) -> Option<i64> {
        let hour = self.number(2)?;
        self.skip(b":")?;
        let minute = self.number(2)?;
        self.skip(b":")?;
        let second = self.number(2)?;
        let exists = hour < 24 && minute < 60 && second <= 60;
        exists.then(|| i64::from(hour * 3_600 + minute * 60 + second))
    }
}

fn two_digits(number: u64) -> [u8; 2] {
    let digit = |number: u64| b'0' + u8::try_from(number % 10).unwrap_or_default();
    [digit(number / 10), digit(number)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;
    use std::time::{Duration, UNIX_EPOCH};

    /// 2026-01-15 00:00:00.
    const NOW: u64 = 1_768_435_200;

    #[test]
    fn three_forms_are_read() {
        #[rustfmt::skip]
        let cases = [
            // RFC 9110 §5.6.7: the examples.
            ("Sun, 06 Nov 1994 08:49:37 GMT",       Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT",      Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994",            Some(784_111_777)),
            ("Sun Nov 06 08:49:37 1994",            Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT",       Some(0)),
            ("Wed, 31 Dec 1969 23:59:59 GMT",       Some(-1)),
            ("Thu, 29 Feb 2024 12:00:00 GMT",       Some(1_709_208_000)),
            ("Tue, 31 Dec 2024 23:59:60 GMT",       Some(1_735_689_600)), // a leap second
            ("Mon, 01 Jan 0001 00:00:00 GMT",       Some(-62_135_596_800)),
            ("Fri, 31 Dec 9999 23:59:59 GMT",       Some(253_402_300_799)),
            ("  Sun, 06 Nov 1994 08:49:37 GMT\t",   Some(784_111_777)),   // §5.5: white space around a value
            // Two-digit years: at most 50 years ahead, else in the past.
            ("Wednesday, 15-Jan-76 00:00:00 GMT",   Some(3_346_272_000)), // 2076, 50 years to the second
            ("Thursday, 15-Jan-76 00:00:01 GMT",    Some(190_512_001)),   // 1976
            ("Friday, 31-Dec-99 00:00:00 GMT",      Some(946_598_400)),   // 1999
            ("Monday, 01-Jan-24 00:00:00 GMT",      Some(1_704_067_200)),
            // Invalid forms.
            ("Mon, 06 Nov 1994 08:49:37 GMT",       None),                // that was a Sunday
            ("sun, 06 Nov 1994 08:49:37 GMT",       None),                // case counts
            ("Sun, 06 Nov 1994 08:49:37 gmt",       None),
            ("Sun, 06 Nov 1994 08:49:37 UTC",       None),
            ("Sun, 06 Nov 1994 08:49:37 +0000",     None),
            ("Sun, 06 Nov 1994 08:49:37",           None),
            ("Sun, 6 Nov 1994 08:49:37 GMT",        None),
            ("Sun, 06 nov 1994 08:49:37 GMT",       None),
            ("Sun, 06 Nov 94 08:49:37 GMT",         None),
            ("Sun, 06 Nov 1994 8:49:37 GMT",        None),
            ("Sun, 06 Nov 1994 24:00:00 GMT",       None),
            ("Sun, 06 Nov 1994 08:60:37 GMT",       None),
            ("Sun, 06 Nov 1994 08:49:61 GMT",       None),
            ("Fri, 30 Feb 2024 12:00:00 GMT",       None),
            ("Wed, 29 Feb 2023 12:00:00 GMT",       None),
            ("Sun, 00 Nov 1994 08:49:37 GMT",       None),
            ("Sun, 06 Nov 1994 08:49:37 GMT, x",    None),
            ("Sun, 06-Nov-94 08:49:37 GMT",         None),
            ("Sunday, 06 Nov 1994 08:49:37 GMT",    None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT",    None),
            ("Someday, 06-Nov-94 08:49:37 GMT",     None),
            ("Sun Nov 6 08:49:37 1994",             None),
            ("Sun Nov  6 08:49:37 1994 GMT",        None),
            ("1994-11-06T08:49:37Z",                None),
            ("784111777",                           None),
            ("0",                                   None),
            ("",                                    None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes(), NOW), expected, "{text}");
        }
    }

    #[test]
    fn a_date_beyond_the_form_is_the_last_one() {
        assert_eq!(ImfFixdate::from_seconds(u64::MAX).as_str(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(seconds in 0..=SECONDS_MAX) {
            let date = ImfFixdate::from_seconds(seconds);
            prop_assert_eq!(parse(date.as_str().as_bytes(), NOW), Some(seconds.cast_signed()));
        }

        #[test]
        fn writing_is_what_another_writer_writes(seconds in 0..=SECONDS_MAX) {
            let other = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            prop_assert_eq!(ImfFixdate::from_seconds(seconds).to_string(), other);
        }

        #[test]
        fn the_short_year_stays_within_a_century(
            seconds in 0..SECONDS_MAX,
            now in 0..SECONDS_MAX - 51 * 366 * SECONDS_PER_DAY,
        ) {
            let civil = Civil::from_days((seconds / SECONDS_PER_DAY).cast_signed());
            let year = latest_year(civil.year % 100, civil.month, civil.day, 0, now);
            let now_year = Civil::from_days((now / SECONDS_PER_DAY).cast_signed()).year;
            prop_assert_eq!(year.rem_euclid(100), civil.year % 100);
            prop_assert!((now_year - 50..=now_year + 50).contains(&year));
        }

        #[test]
        fn no_bytes_make_it_panic(value in any::<Vec<u8>>(), now in any::<u64>()) {
            black_box(parse(&value, now));
        }
    }
}
