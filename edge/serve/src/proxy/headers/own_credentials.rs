//! Removes the edge's own credentials from requests to backends: tokens, and the cookies of visitors and sessions,
//! which browsers send to every port of a host; for example, a host of the console may later belong to an app.

use devanture_config::api::{LOGIN_COOKIE, PERSON_COOKIE, SESSION_COOKIE, VISITOR_COOKIE, is_credential};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;

/// Common prefix of the cookie names.
const BEGINNING: &[u8] = b"__Host-Http-devanture-";

/// Removes tokens and cookies from all fields.
pub(super) fn leave_out(headers: &mut HeaderMap) {
    if headers.get_all(AUTHORIZATION).iter().any(is_token) {
        keep(headers, &AUTHORIZATION, |field| (!is_token(field)).then(|| field.clone()));
    }
    if headers.get_all(COOKIE).iter().any(|field| memmem::find(field.as_bytes(), BEGINNING).is_some()) {
        keep(headers, &COOKIE, without);
    }
}

/// Replaces each field `name` by the result of `kept`, which may be `None`.
fn keep(headers: &mut HeaderMap, name: &HeaderName, kept: impl Fn(&HeaderValue) -> Option<HeaderValue>) {
    let fields: Vec<HeaderValue> = headers.get_all(name).iter().filter_map(kept).collect();
    headers.remove(name);
    for field in fields {
        headers.append(name, field);
    }
}

/// Returns true for a token of an edge, also if the edge admits everybody and has not checked the token.
fn is_token(field: &HeaderValue) -> bool {
    let Some((scheme, token)) = field.to_str().ok().and_then(|field| field.split_once(' ')) else { return false };
    scheme.eq_ignore_ascii_case("bearer") && is_credential(token.trim())
}

/// Returns the field without the cookies; `None` if no cookie is left.
fn without(field: &HeaderValue) -> Option<HeaderValue> {
    let is_other = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        let own = [LOGIN_COOKIE, PERSON_COOKIE, SESSION_COOKIE, VISITOR_COOKIE].map(str::as_bytes);
        !own.contains(&name.trim_ascii())
    };
    let others: Vec<&[u8]> = field.as_bytes().split(|byte| *byte == b';').filter(is_other).collect();
    HeaderValue::from_bytes(others.join(&b';').trim_ascii()).ok().filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_left_out_and_what_is_for_the_backend_stays() {
        for (field, stays) in [
            ("Bearer dvt_01_23", false),
            ("bearer  dva_1", false),
            ("Bearer dvx_1", true),
            ("Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", true),
            ("Basic ZHZ0XzE6eA==", true),
            ("dvt_1", true),
        ] {
            let mut headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(field))]);
            leave_out(&mut headers);
            assert_eq!(headers.contains_key(AUTHORIZATION), stays, "{field}");
        }
    }

    #[test]
    fn the_cookie_is_left_out_and_others_stay_as_they_are() {
        for (fields, expected) in [
            (&["a=1; b=2"][..], &["a=1; b=2"][..]),
            (&["a=1; __Host-Http-devanture-session=x; b=2"], &["a=1; b=2"]),
            (&["__Host-Http-devanture-session=x; b=2"], &["b=2"]),
            (&["a=1;__Host-Http-devanture-session = x"], &["a=1"]),
            (&["__Host-Http-devanture-visitor=x; a=1; __Host-Http-devanture-session=y"], &["a=1"]),
            (&["__Host-Http-devanture-login=x; a=1"], &["a=1"]),
            (&["__Host-Http-devanture-person=x; a=1"], &["a=1"]),
            (&["__Host-Http-devanture-visitors=x"], &["__Host-Http-devanture-visitors=x"]),
            (&["__Host-Http-devanture-session=x"], &[]),
            (&["a=1", "__Host-Http-devanture-session=x", "b=2"], &["a=1", "b=2"]),
            (&["a=__Host-Http-devanture-session"], &["a=__Host-Http-devanture-session"]),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(COOKIE, HeaderValue::from_static(field));
            }
            leave_out(&mut headers);
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), expected, "{fields:?}");
        }
    }
}
