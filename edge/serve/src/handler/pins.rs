//! Pins visitors to a version (`pin = "session"`): the version of the visitor's first page, while the visitor keeps
//! coming, the edge keeps the version, and no rollback from the version has happened.

use std::ops::Deref;
use std::sync::Arc;

use devanture_site::canary::cookie;
use devanture_site::pin::{PIN_COOKIE, Pin, set_cookie};
use http::HeaderValue;
use http::header::COOKIE;

use super::decision::Head;
use crate::live::{Current, Pins, Place};
use crate::version::Version;

/// The version that a visitor gets.
pub(super) enum Side<'c> {
    /// A version of the pointer, live or canary.
    Pointed(&'c Arc<Current>),
    /// An earlier live version.
    Earlier(Arc<Current>),
}

impl Deref for Side<'_> {
    type Target = Arc<Current>;

    fn deref(&self) -> &Arc<Current> {
        match self {
            Self::Pointed(current) => current,
            Self::Earlier(current) => current,
        }
    }
}

/// The resolved pin of a visitor.
#[derive(Default)]
pub(super) struct ResolvedPin<'c> {
    /// The version that the visitor is pinned to.
    pub(super) side: Option<Side<'c>>,
    /// The cookie that the response sets.
    pub(super) gives: PinCookie,
}

/// The pin cookie that a response sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PinCookie {
    /// A first cookie, to a new browser.
    #[default]
    First,
    /// The same cookie with a new lifetime, to a returning visitor.
    Again,
    /// A cookie for another version, since the pinned version holds no visitors any longer.
    Next,
    /// No cookie.
    Nothing,
}

/// Looks up the version that a visitor is pinned to; `None` while the version is not loaded.
pub(super) fn held<'c>(
    head: &Head<'_>,
    (current, pins): (&'c Arc<Current>, &Pins),
    place: &Place,
) -> Option<ResolvedPin<'c>> {
    // Line by line: HTTP/2 and HTTP/3 may have several (RFC 9113 §8.2.3).
    let value = head.fields.get_all(&COOKIE).find_map(|cookies| cookie(cookies, PIN_COOKIE));
    let Some(pin) = value.and_then(Pin::read).filter(|_| head.heeds_pins) else { return Some(ResolvedPin::default()) };
    let now_s = (head.now_s)();
    if pin.is_over(now_s, pins.idle_s) {
        return Some(ResolvedPin::default());
    }
    let pointed = pointed(current, pin.version).map(Side::Pointed);
    let side = pointed.or_else(|| place.pinned((current, pins), pin.version).map(Side::Earlier));
    let gives = match &side {
        None if place.is_loading_pinned(pins, pin.version) => return None,
        // The cookie is of another node, which already knows of a switch that reaches the local node in a moment.
        None if pin.is_ahead(now_s, pins.since_ms()) => PinCookie::Nothing,
        // Also for requests by a script of an open page: a client that has sent a cookie stores cookies.
        None => PinCookie::Next,
        Some(_) if pin.is_due(now_s, pins.idle_s) => PinCookie::Again,
        Some(_) => PinCookie::Nothing,
    };
    Some(ResolvedPin { side, gives })
}

/// The version of the pointer, live or canary, whose id begins with `short`.
fn pointed<'c>(current: &'c Arc<Current>, short: &[u8]) -> Option<&'c Arc<Current>> {
    let canary = current.canary.as_ref().map(|canary| &canary.next);
    [Some(current), canary].into_iter().flatten().find(|side| side.version.id.is_short(short))
}

impl Pins {
    /// The cookie that pins a visitor to a version from now on.
    pub(super) fn cookie(&self, version: &Version, now_s: u64) -> Option<HeaderValue> {
        HeaderValue::try_from(set_cookie(&version.id.short(), self.since_ms(), now_s, self.idle_s)).ok()
    }
}
