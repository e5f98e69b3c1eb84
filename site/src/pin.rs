//! The cookie that pins a visitor to a version: the version, and the visitor's last visit. The edge stores no visitor
//! state and signs nothing: a visitor can select only among the pinned versions.

/// The cookie.
pub const PIN_COOKIE: &str = "__Host-devanture-pin";
/// Maximum digits of a time in seconds since 1970 UTC: until the year 5138.
const DIGITS_MAX: usize = 11;
/// Seconds by which the clock of the issuing node may be ahead.
const AHEAD_S_MAX: u64 = 300;
/// Digits of milliseconds beyond seconds.
const DIGITS_OF_MS: usize = 3;
/// Seconds within which all nodes know of a switch.
const MOMENT_S: u64 = 10;
/// Divisor of the idle time: the cookie is renewed once one part has passed.
const PARTS: u64 = 10;

/// Content of the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'c> {
    /// The prefix of the version's id.
    pub version: &'c [u8],
    /// The time of the last visit, in seconds since 1970 UTC.
    seen_s: u64,
    /// The last change of the served versions known to the issuing node, in milliseconds since 1970 UTC.
    since_ms: u64,
}

impl<'c> Pin<'c> {
    /// Parses the value of the cookie; `None` for a value that the edge never sets.
    #[must_use]
    pub fn read(value: &'c [u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'.');
        let (version, seen, since) = (parts.next()?, parts.next()?, parts.next()?);
        let (seen_s, since_ms) = (number(seen, DIGITS_MAX)?, number(since, DIGITS_MAX + DIGITS_OF_MS)?);
        parts.next().is_none().then_some(Self { version, seen_s, since_ms })
    }

    /// Returns true if the visitor was away for `idle_s` seconds or more, so that the pin has ended. Since the cookie
    /// is renewed only now and then, up to a tenth more may pass.
    #[must_use]
    pub fn is_over(&self, now_s: u64, idle_s: u32) -> bool {
        self.seen_s > now_s.saturating_add(AHEAD_S_MAX) || now_s.saturating_sub(self.seen_s) > kept_s(idle_s)
    }

    /// Returns true if a node issued the cookie a moment ago and knew of a later change than `since_ms`.
    #[must_use]
    pub const fn is_ahead(&self, now_s: u64, since_ms: u64) -> bool {
        self.since_ms > since_ms && now_s.saturating_sub(self.seen_s) <= MOMENT_S
    }

    /// Returns true if the cookie must be renewed, so that the pin lasts for as long as the visitor comes.
    #[must_use]
    pub fn is_due(&self, now_s: u64, idle_s: u32) -> bool {
        now_s.saturating_sub(self.seen_s) >= (u64::from(idle_s) / PARTS).max(1)
    }
}

fn number(digits: &[u8], digits_max: usize) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.len() <= digits_max && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

/// Seconds for which a browser keeps the cookie.
#[must_use]
pub fn kept_s(idle_s: u32) -> u64 {
    let idle_s = u64::from(idle_s);
    idle_s + idle_s.div_ceil(PARTS)
}

/// The value of `Set-Cookie` that pins a visitor to `version`, the prefix of an id, from now on; `since_ms` is the last
/// change of the served versions.
#[must_use]
pub fn set_cookie(version: &str, since_ms: u64, now_s: u64, idle_s: u32) -> String {
    let kept_s = kept_s(idle_s);
    format!("{PIN_COOKIE}={version}.{now_s}.{since_ms}; Path=/; Max-Age={kept_s}; Secure; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::cookie;

    const NOW_S: u64 = 1_764_230_000;

    #[test]
    fn what_is_given_is_read_again() {
        let given = set_cookie("705b4017e33b", 1_764_229_999_123, NOW_S, 1_800);
        assert!(given.ends_with("; Path=/; Max-Age=1980; Secure; HttpOnly; SameSite=Lax"), "{given}");
        let pin = Pin::read(cookie(given.as_bytes(), PIN_COOKIE).unwrap()).unwrap();
        assert_eq!(pin, Pin { version: b"705b4017e33b", seen_s: NOW_S, since_ms: 1_764_229_999_123 });
    }

    #[test]
    fn what_is_given_to_nobody_says_nothing() {
        for value in ["", ".", "..", "a", "a.", "a.1", "a.1.", "a.-1.1", "a.1.-1", "a.1.2.3", "a.1e9.1", "a. 1.1"] {
            assert_eq!(Pin::read(value.as_bytes()), None, "{value}");
        }
        assert_eq!(Pin::read(b"a.999999999999.1"), None, "no time has so many digits");
        assert_eq!(Pin::read(b"a.1.999999999999999"), None, "nor in milliseconds");
        assert_eq!(Pin::read(b"\xff.7.7").map(|pin| pin.version), Some(&b"\xff"[..]), "no version is named like that");
    }

    #[test]
    fn a_visitor_who_comes_again_is_held_and_one_who_was_away_is_not() {
        let pin = |seen_s| Pin { version: b"", seen_s, since_ms: 0 };
        for (ago, is_due, is_over) in
            [(0, false, false), (179, false, false), (180, true, false), (1_980, true, false), (1_981, true, true)]
        {
            let pin = pin(NOW_S - ago);
            assert_eq!((pin.is_due(NOW_S, 1_800), pin.is_over(NOW_S, 1_800)), (is_due, is_over), "{ago} s ago");
        }
        assert!(!pin(NOW_S + 300).is_over(NOW_S, 1_800) && pin(NOW_S + 301).is_over(NOW_S, 1_800));
        assert!(pin(NOW_S - 1).is_due(NOW_S, 1) && !pin(NOW_S).is_due(NOW_S, 1), "not with each request of a second");
    }

    #[test]
    fn a_cookie_of_a_node_that_knows_more_counts_for_a_moment() {
        let pin = |seen_s, since_ms| Pin { version: b"", seen_s, since_ms };
        assert!(pin(NOW_S, 8).is_ahead(NOW_S, 7) && pin(NOW_S - 10, 8).is_ahead(NOW_S, 7));
        assert!(!pin(NOW_S, 7).is_ahead(NOW_S, 7), "this node knows of all that the other one did");
        assert!(!pin(NOW_S - 11, 8).is_ahead(NOW_S, 7), "by now it knows of every switch");
    }
}
