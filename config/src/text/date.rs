//! Moments as people read them.

use time::OffsetDateTime;

/// A moment in milliseconds since 1970, as `2026-11-23 14:05:00 UTC`; the number itself after the year 9999.
#[must_use]
pub fn date_time(ms: u64) -> String {
    let moment = i64::try_from(ms / 1_000).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(moment) = moment else { return format!("{ms} ms") };
    let (date, clock) = (moment.date(), moment.time());
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        date.year(),
        u8::from(date.month()),
        date.day(),
        clock.hour(),
        clock.minute(),
        clock.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_and_a_time_in_utc() {
        assert_eq!(date_time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date_time(1_795_442_700_999), "2026-11-23 14:05:00 UTC");
        assert_eq!(date_time(253_402_300_799_000), "9999-12-31 23:59:59 UTC");
        assert_eq!(date_time(u64::MAX), format!("{} ms", u64::MAX));
    }
}
