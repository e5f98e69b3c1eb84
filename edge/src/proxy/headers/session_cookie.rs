//! Leaves the cookie of the edge's own sessions out of what backends are sent: browsers send it to every port of a host, and
//! a host of the console may become that of an app.

use devanture_config::api::SESSION_COOKIE;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

/// Takes the cookie out of every field that has it.
pub(super) fn leave_out(headers: &mut HeaderMap) {
    if !headers.get_all(COOKIE).iter().any(|field| memmem::find(field.as_bytes(), SESSION_COOKIE.as_bytes()).is_some())
    {
        return;
    }
    let fields: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(without).collect();
    headers.remove(COOKIE);
    for field in fields {
        headers.append(COOKIE, field);
    }
}

/// The field without the cookie; `None` if nothing is left.
fn without(field: &HeaderValue) -> Option<HeaderValue> {
    let is_other = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() != SESSION_COOKIE.as_bytes()
    };
    let others: Vec<&[u8]> = field.as_bytes().split(|byte| *byte == b';').filter(is_other).collect();
    HeaderValue::from_bytes(others.join(&b';').trim_ascii()).ok().filter(|field| !field.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_left_out_and_others_stay_as_they_are() {
        for (fields, expected) in [
            (&["a=1; b=2"][..], &["a=1; b=2"][..]),
            (&["a=1; __Host-Http-devanture-session=x; b=2"], &["a=1; b=2"]),
            (&["__Host-Http-devanture-session=x; b=2"], &["b=2"]),
            (&["a=1;__Host-Http-devanture-session = x"], &["a=1"]),
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
