//! Ids of a proxied request: one that the edge's log, the backend and the client all have, and its place in a
//! trace (W3C Trace Context).

use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::is_token;

/// The id of a request, in what a backend is sent and a client gets.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longest id that a trusted proxy may have given.
const ID_BYTES_MAX: usize = 128;
/// Bytes of `traceparent` in version 00: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const PARENT_BYTES: usize = 55;
/// Bytes of an id that the edge made.
const ID_BYTES: usize = 32;
/// The flag "sampled". The edge begins traces with it: programs that record by default record by it, and would record
/// nothing without.
const SAMPLED: u8 = 1;
/// The flags that are passed on: "sampled", and "random" of level 2; the others must not be (section 3.2.2.5.2).
const FLAGS: u8 = 3;

/// The ids of one request. The values share their memory: of an id and a trace that the edge made, one is a part of
/// the other, so that either finds both.
#[derive(Debug, Clone)]
pub struct Ids {
    /// The request's id.
    pub request_id: HeaderValue,
    /// `traceparent` for the backend.
    pub(crate) traceparent: HeaderValue,
    /// Whether the `tracestate` that came goes on.
    pub(crate) keeps_tracestate: bool,
    /// Whether a trusted proxy sent the request, so that its fields about the visitor are believed.
    pub(crate) is_trusted: bool,
}

impl Ids {
    /// Those of a request with these fields; they say nothing unless they come from a trusted proxy.
    #[must_use]
    pub fn of(headers: &HeaderMap, is_trusted: bool) -> Self {
        if !is_trusted {
            return Self::made(None, None);
        }
        let given = one(headers, &REQUEST_ID).filter(|id| is_id(id.as_bytes()));
        let parent = one(headers, &TRACEPARENT).and_then(|parent| Parent::parse(parent.as_bytes()));
        Self { is_trusted, ..Self::made(given, parent) }
    }

    fn made(given: Option<&HeaderValue>, parent: Option<Parent>) -> Self {
        let (random, span): (u128, u64) = rand::random();
        let mut text = [b'-'; PARENT_BYTES + ID_BYTES];
        let keeps_tracestate = parent.is_some();
        // A trace may hold many requests, so that its id is none of theirs.
        let (trace, flags) = match &parent {
            Some(Parent { trace, flags }) => (*trace, *flags),
            // Neither may be zero (sections 3.2.2.3 and 3.2.2.4).
            None => (random.max(1), SAMPLED),
        };
        put_hex(&mut text, 0..2, 0);
        put_hex(&mut text, 3..35, trace);
        put_hex(&mut text, 36..52, span.max(1).into());
        put_hex(&mut text, 53..PARENT_BYTES, flags.into());
        put_hex(&mut text, PARENT_BYTES..PARENT_BYTES + ID_BYTES, random);
        let own_id = PARENT_BYTES..PARENT_BYTES + ID_BYTES;
        let (used, id) = match (given, keeps_tracestate) {
            (None, true) => (own_id.end, own_id),
            // The digits of the trace.
            _ => (PARENT_BYTES, 3..3 + ID_BYTES),
        };
        let text = Bytes::copy_from_slice(text.get(..used).unwrap_or_default());
        let request_id = given.cloned().unwrap_or_else(|| value(text.slice(id)));
        Self { request_id, traceparent: value(text.slice(..PARENT_BYTES)), keeps_tracestate, is_trusted: false }
    }
}

/// Digits and dashes are always a value.
fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).unwrap_or_else(|_invalid| HeaderValue::from_static("0"))
}

/// Writes the last hexadecimal digits of `value`, in lower case, to `place`.
fn put_hex(text: &mut [u8], place: Range<usize>, value: u128) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut left = value;
    for byte in text.get_mut(place).unwrap_or_default().iter_mut().rev() {
        let digit = usize::try_from(left & 0xf).unwrap_or_default();
        *byte = HEX.get(digit).copied().unwrap_or(b'0');
        left >>= 4;
    }
}

/// A field that is there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).into_iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        _ => None,
    }
}

fn is_id(text: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.iter().all(|byte| is_token(*byte))
}

/// The used part of a `traceparent`.
#[derive(Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    flags: u8,
}

impl Parent {
    /// Reads version 00, and of a later one what 00 has of it (section 3.2.4).
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(PARENT_BYTES)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let mut next = |digits: usize| hex(parts.next().filter(|part| part.len() == digits)?);
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let is_known = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with(b"-"),
        };
        let flags = u8::try_from(flags).ok()? & if version == 0 { FLAGS } else { SAMPLED };
        (is_known && trace != 0 && span != 0).then_some(Self { trace, flags })
    }
}

/// Hexadecimal digits in lower case alone (section 3.2.2).
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn ids(lines: &[(&str, &str)], is_trusted: bool) -> (String, String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let ids = Ids::of(&headers, is_trusted);
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        (text(&ids.request_id), text(&ids.traceparent), ids.keeps_tracestate)
    }

    fn is_hex(text: &str, digits: usize) -> bool {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    #[test]
    fn an_id_of_the_edges_own_is_that_of_the_trace_and_another_each_time() {
        let given = [("x-request-id", "mine"), ("traceparent", &*format!("00-{TRACE}-00f067aa0ba902b7-00"))];
        for lines in [&[][..], &given] {
            let (id, parent, keeps) = ids(lines, false);
            let parts: Vec<&str> = parent.split('-').collect();
            let [version, trace, span, flags] = parts.as_slice() else { panic!("{parent}") };
            assert_eq!((*version, *trace, *flags, keeps), ("00", id.as_str(), "01", false));
            assert!(is_hex(&id, 32) && is_hex(span, 16) && id != TRACE, "{id} {span}");
            assert_ne!(ids(lines, false).0, id);
        }
    }

    #[test]
    fn a_trusted_proxys_trace_goes_on_with_a_parent_and_an_id_of_the_edges_own() {
        let came = format!("00-{TRACE}-00f067aa0ba902b7-00");
        let (id, parent, keeps) = ids(&[("traceparent", &came)], true);
        assert!(keeps && is_hex(&id, 32) && id != TRACE, "{id}");
        assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00") && parent != came, "{parent}");
        let (id, parent, _) = ids(&[("traceparent", &came.replace("-00f0", "-10f0")), ("x-request-id", "a.b~1")], true);
        assert_eq!(id, "a.b~1");
        assert!(parent.contains(TRACE));
        assert_eq!(ids(&[("x-request-id", "a.b~1")], true).0, "a.b~1");
    }

    #[test]
    fn what_is_not_well_formed_is_made_again() {
        for id in ["", "a b", "a,b", "é", "a\"", &"x".repeat(129)] {
            let (made, ..) = ids(&[("x-request-id", id)], true);
            assert!(is_hex(&made, 32), "{id}: {made}");
        }
        assert!(is_hex(&ids(&[("x-request-id", "a"), ("x-request-id", "b")], true).0, 32));
        let span = "00f067aa0ba902b7";
        for (parent, flags) in [
            (format!("00-{TRACE}-{span}-01"), Some("01")),
            (format!("00-{TRACE}-{span}-ff"), Some("03")),
            (format!("cc-{TRACE}-{span}-ff-more"), Some("01")),
            (format!("cc-{TRACE}-{span}-00"), Some("00")),
            (format!("cc-{TRACE}-{span}-00more"), None),
            (format!("00-{TRACE}-{span}-01-more"), None),
            (format!("ff-{TRACE}-{span}-01"), None),
            (format!("00-{}-{span}-01", TRACE.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), None),
            (format!("00-{TRACE}-{span}-1"), None),
            (format!("00-{TRACE}{span}--01-"), None),
            (String::new(), None),
        ] {
            let (_, made, keeps) = ids(&[("traceparent", &parent)], true);
            assert_eq!(keeps.then(|| made.rsplit('-').next().unwrap()), flags, "{parent}");
            assert_eq!(made.contains(TRACE), flags.is_some(), "{parent}");
        }
    }

    proptest! {
        #[test]
        fn no_parent_breaks_the_reading(text in "(00|01|ff|[0-9a-f]{2})-[0-9a-fA-F-]{30,60}") {
            let (_, made, keeps) = ids(&[("traceparent", &text)], true);
            prop_assert_eq!(made.len(), PARENT_BYTES);
            prop_assert!(!keeps || text.contains(made.split('-').nth(1).unwrap()));
        }
    }
}
