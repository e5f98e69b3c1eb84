//! The cookie of admitted visitors of protected previews and environments: set by a password, a share link or a login.
//!
//! The cookie names the share link, the password or the login, and its end, and is signed for one hostname with a
//! secret of the link or protection. So the cookie is invalid at any other hostname, and ends with the link, with the
//! password, or with the account and its password.

use devanture_config::api::{Protection, ShareTarget, VISITOR_COOKIE};
use http::HeaderValue;
use http::header::COOKIE;

use crate::live::{Live, Restriction};
use devanture_http::Fields;

/// Attributes of the cookie apart from its lifetime.
pub(super) const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
/// Subject of a cookie for the password of a protection.
pub(super) const PASSWORD: &str = "password";
/// Subject of a cookie for a login at the provider.
const LOGIN: &str = "login";
/// Prefix, before the mark, of the subject for a login with an account; any further subject is the id of a share link.
const ACCOUNT: &str = "account-";
/// Maximum cookies of the name to check; no app can set the cookie elsewhere, so that one is usual.
const COOKIES_MAX: usize = 4;
/// Longest value to check, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// The subject of a cookie for a login: of the account with the mark, or at the provider.
pub(super) fn login_subject(mark: Option<&str>) -> String {
    mark.map_or_else(|| LOGIN.to_owned(), |mark| format!("{ACCOUNT}{mark}"))
}

/// A new cookie of `subject` for `host`, valid until `expires_s`.
pub(super) fn set(host: &str, subject: &str, key: &[u8; 32], now_s: u64, expires_s: u64) -> Option<HeaderValue> {
    let mac = signature(key, host, subject, expires_s).to_hex();
    let lifetime_s = expires_s.saturating_sub(now_s);
    let field = format!("{VISITOR_COOKIE}={subject}.{expires_s}.{mac}; Max-Age={lifetime_s}; {ATTRIBUTES}");
    HeaderValue::from_str(&field).ok()
}

/// Returns true if the request has a cookie that is valid for the protected content.
pub(super) fn admits(
    fields: Fields<'_>,
    host: &str,
    restriction: &Restriction,
    target: &ShareTarget,
    live: &Live,
    now_s: u64,
) -> bool {
    cookie_values(fields, VISITOR_COOKIE, VALUE_BYTES_MAX)
        .any(|value| is_good(value, host, restriction, target, live, now_s))
}

/// The values of the cookies of a name.
pub(super) fn cookie_values<'f>(
    fields: Fields<'f>,
    name: &'static str,
    bytes_max: usize,
) -> impl Iterator<Item = &'f [u8]> {
    let values = fields.get_all(&COOKIE).flat_map(|field| field.split(|byte| *byte == b';'));
    let values = values.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.take(COOKIES_MAX).filter(move |value| value.len() <= bytes_max)
}

fn is_good(value: &[u8], host: &str, restriction: &Restriction, target: &ShareTarget, live: &Live, now_s: u64) -> bool {
    let Some((subject, expires_s, mac)) = parts(value) else { return false };
    if expires_s <= now_s {
        return false;
    }
    let key = match (subject, subject.strip_prefix(ACCOUNT)) {
        (PASSWORD, _) if restriction.mode == Protection::Password => restriction.cookie_key(live),
        (LOGIN, _) if restriction.mode == Protection::Oidc => restriction.cookie_key(live),
        (PASSWORD | LOGIN, _) => None,
        // The end of the account, or a new password, ends the login.
        (_, Some(mark)) => {
            let is_in_force = restriction.mode == Protection::Accounts && live.may_visit(mark, &restriction.app);
            if is_in_force { restriction.cookie_key(live) } else { None }
        }
        (id, None) => live
            .share_link(&restriction.app, id)
            .filter(|link| link.opens(target))
            .and_then(|link| link.cookie_key(live)),
    };
    // Compared in constant time.
    key.is_some_and(|key| signature(&key, host, subject, expires_s) == mac)
}

/// The subject, the end and the signature of a value.
fn parts(value: &[u8]) -> Option<(&str, u64, blake3::Hash)> {
    let mut parts = str::from_utf8(value).ok()?.split('.');
    let (subject, expires, mac) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && expires.bytes().all(|byte| byte.is_ascii_digit());
    Some((subject, expires.parse().ok()?, blake3::Hash::from_hex(mac).ok()?)).filter(|_| is_whole)
}

/// No part contains a byte 0, so no two cookies are signed alike.
fn signature(key: &[u8; 32], host: &str, subject: &str, expires_s: u64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in ["devanture 2026 cookie of a visitor", host, subject, &expires_s.to_string()] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_three_parts_or_is_none() {
        let mac = "0".repeat(64);
        assert!(parts(format!("password.12.{mac}").as_bytes()).is_some());
        for bad in [
            "",
            "password",
            "password.12",
            &format!("password.+12.{mac}"),
            &format!("password.12.{mac}."),
            &format!("password.12.{mac}0"),
            &format!("password.99999999999999999999.{mac}"),
            &format!("password..{mac}"),
        ] {
            assert!(parts(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(parts(b"\xff.12.00").is_none());
    }

    #[test]
    fn each_part_is_signed() {
        let signed = |key, host, subject, expires_s| signature(&[key; 32], host, subject, expires_s);
        let one = signed(1, "a.test", "password", 12);
        assert_eq!(one, signed(1, "a.test", "password", 12));
        for other in [
            signed(2, "a.test", "password", 12),
            signed(1, "b.test", "password", 12),
            signed(1, "a.test", "passwor", 12),
            signed(1, "a.test", "password", 121),
        ] {
            assert_ne!(one, other);
        }
    }
}
