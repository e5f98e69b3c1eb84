//! `Retry-After`: the pause that a server requests from clients (RFC 9110 §10.2.3).

use std::time::SystemTime;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Returns the pause after `now_ms`, in milliseconds; `None` if the field is missing or is neither seconds nor a date.
pub fn retry_after_ms(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Seconds beyond the range of `u64` count as the maximum.
        return Some(text.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000));
    }
    let until = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(u64::try_from(until.as_millis()).unwrap_or(u64::MAX).saturating_sub(now_ms))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_pause_is_seconds_or_any_form_of_a_date() {
        // Sun, 06 Nov 1994 08:48:37 GMT.
        const NOW_MS: u64 = 784_111_717_000;
        for (text, expected) in [
            ("120", Some(120_000)),
            ("0", Some(0)),
            ("007", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("18446744073709551", Some(18_446_744_073_709_551_000)),
            ("18446744073709552", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999999999999999", Some(u64::MAX)),
            // RFC 9110 §5.6.7: IMF-fixdate, RFC 850, asctime.
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60_000)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(60_000)),
            ("Sun Nov  6 08:49:37 1994", Some(60_000)),
            ("Mon, 07 Nov 1994 08:48:37 GMT", Some(86_400_000)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:09 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 +0100", None),
            ("1994-11-06T08:49:37Z", None),
            ("soon", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1, 2", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(retry_after_ms(&headers, NOW_MS), expected, "{text:?}");
        }
        assert_eq!(retry_after_ms(&HeaderMap::new(), NOW_MS), None);
    }
}
