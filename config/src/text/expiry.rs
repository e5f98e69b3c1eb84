//! Expiry: a duration such as `14d`, a time in RFC 3339, or `never`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Units of a duration, with their seconds.
const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400), ('w', 604_800)];
/// Maximum duration: ten years.
const SECONDS_MAX: u64 = 315_360_000;
/// Maximum length of the text.
const BYTES_MAX: usize = 64;

/// Expiry, relative or absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Expiry {
    /// No automatic expiry.
    Never,
    /// Seconds from now.
    In(u64),
    /// Time in seconds since 1970 UTC.
    At(u64),
}

/// Error for an invalid [`Expiry`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time at which something ends: a duration such as 14d, 12h or 90s (of ten years at most), a moment such as 2030-01-31T12:00:00Z, or never"
)]
pub struct BadExpiry(String);

impl Expiry {
    /// Returns the time of expiry, evaluated at `now_ms`, in milliseconds since 1970 UTC.
    ///
    /// ```
    /// use devanture_config::text::Expiry;
    /// let expiry: Expiry = "14d".parse().unwrap();
    /// assert_eq!(expiry.at_ms(1_000), Some(1_000 + 14 * 86_400_000));
    /// ```
    #[must_use]
    pub const fn at_ms(self, now_ms: u64) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::In(seconds) => Some(now_ms.saturating_add(seconds.saturating_mul(1_000))),
            Self::At(seconds) => Some(seconds.saturating_mul(1_000)),
        }
    }
}

impl FromStr for Expiry {
    type Err = BadExpiry;

    fn from_str(text: &str) -> Result<Self, BadExpiry> {
        let bad = || BadExpiry(text.chars().take(BYTES_MAX).collect());
        if text.len() > BYTES_MAX {
            return Err(bad());
        }
        if text == "never" {
            return Ok(Self::Never);
        }
        if let Some((unit, seconds)) = UNITS.iter().find(|(unit, _)| text.ends_with(*unit)) {
            let number = text.strip_suffix(*unit).unwrap_or_default();
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let total =
                number.parse::<u64>().ok().filter(|_| is_number).and_then(|number| number.checked_mul(*seconds));
            return total.filter(|total| (1..=SECONDS_MAX).contains(total)).map(Self::In).ok_or_else(bad);
        }
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_reason| bad())?;
        u64::try_from(moment.unix_timestamp()).map(Self::At).map_err(|_before_1970| bad())
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::In(seconds) => write!(f, "{seconds}s"),
            Self::At(seconds) => {
                let moment = i64::try_from(*seconds).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
                // A value parsed from text is always representable.
                f.write_str(&moment.and_then(|moment| moment.format(&Rfc3339).ok()).ok_or(fmt::Error)?)
            }
        }
    }
}

impl TryFrom<String> for Expiry {
    type Error = BadExpiry;

    fn try_from(text: String) -> Result<Self, BadExpiry> {
        text.parse()
    }
}

impl From<Expiry> for String {
    fn from(expiry: Expiry) -> Self {
        match expiry {
            Expiry::At(seconds) if seconds > 253_402_300_799 => "9999-12-31T23:59:59Z".to_owned(),
            expiry => expiry.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_and_moments_are_read() {
        for (text, expected) in [
            ("never", Some(Expiry::Never)),
            ("90s", Some(Expiry::In(90))),
            ("30m", Some(Expiry::In(1_800))),
            ("12h", Some(Expiry::In(43_200))),
            ("14d", Some(Expiry::In(1_209_600))),
            ("2w", Some(Expiry::In(1_209_600))),
            ("1970-01-01T00:01:00Z", Some(Expiry::At(60))),
            ("1970-01-01T01:00:00+01:00", Some(Expiry::At(0))),
            ("2030-01-31T12:00:00.5Z", Some(Expiry::At(1_896_091_200))),
            ("", None),
            ("d", None),
            ("0d", None),
            ("-1d", None),
            ("+1d", None),
            ("1.5d", None),
            ("14", None),
            ("14 d", None),
            ("3651d", None),
            ("99999999999999999999d", None),
            ("18446744073709551615w", None),
            ("2030-01-31", None),
            ("1969-12-31T23:59:59Z", None),
            ("14д", None),
        ] {
            assert_eq!(text.parse::<Expiry>().ok(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 1..=SECONDS_MAX, moment in 0..=253_402_300_799_u64) {
            for expiry in [Expiry::Never, Expiry::In(seconds), Expiry::At(moment)] {
                prop_assert_eq!(String::from(expiry).parse::<Expiry>().unwrap(), expiry);
            }
        }

        #[test]
        fn no_text_is_too_much(text in "\\PC*") {
            if let Ok(expiry) = text.parse::<Expiry>() {
                prop_assert_eq!(String::from(expiry).parse::<Expiry>().unwrap(), expiry);
            }
        }
    }
}
