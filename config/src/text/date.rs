//! Points in time for display.

use time::OffsetDateTime;

/// Returns a time in milliseconds since 1970 as `2026-11-23 14:05:00 UTC`; the number itself after the year 9999.
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

/// Returns a time in milliseconds since 1970 as `2026-11-23T14:05:00.000Z` (RFC 3339); capped at the end of the year
/// 9999.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    /// The last millisecond of the year 9999.
    const MS_MAX: u64 = 253_402_300_799_999;
    let ms = ms.min(MS_MAX);
    let text = date_time(ms);
    let text = text.trim_end_matches(" UTC").replace(' ', "T");
    format!("{text}.{:03}Z", ms % 1_000)
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

    #[test]
    fn a_moment_of_a_message_is_that_of_rfc_3339() {
        assert_eq!(rfc3339(1_795_442_700_999), "2026-11-23T14:05:00.999Z");
        for ms in [0, 1, 1_795_442_700_999, 253_402_300_799_999] {
            let format = &time::format_description::well_known::Rfc3339;
            let read = OffsetDateTime::parse(&rfc3339(ms), format).unwrap();
            assert_eq!(read.unix_timestamp_nanos(), i128::from(ms) * 1_000_000);
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
