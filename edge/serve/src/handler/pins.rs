//! Which version a visitor is held on (`pin = "session"`): that of the first page, for as long as the visitor comes,
//! the edge keeps it, and nobody went back from it.

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
    /// One that the pointer names.
    Pointed(&'c Arc<Current>),
    /// One that was live before.
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

/// What a visitor's cookie says.
#[derive(Default)]
pub(super) struct Held<'c> {
    /// The version that the visitor is held on.
    pub(super) side: Option<Side<'c>>,
    /// Whether the answer gives a cookie.
    pub(super) gives: Gives,
}

/// Whether an answer gives the cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Gives {
    /// To a browser that comes first.
    #[default]
    First,
    /// The same once more, for the visitor came again.
    Again,
    /// That of another version, for the one that the visitor was held on holds nobody any longer.
    Next,
    /// It does not.
    Nothing,
}

/// Looks up what a visitor is held on; `None` while that is not loaded.
pub(super) fn held<'c>(head: &Head<'_>, (current, pins): (&'c Arc<Current>, &Pins), place: &Place) -> Option<Held<'c>> {
    // Line by line: HTTP/2 and HTTP/3 may have several (RFC 9113 §8.2.3).
    let value = head.fields.get_all(&COOKIE).find_map(|cookies| cookie(cookies, PIN_COOKIE));
    let Some(pin) = value.and_then(Pin::read).filter(|_| head.heeds_pins) else { return Some(Held::default()) };
    let now_s = (head.now_s)();
    if pin.is_over(now_s, pins.idle_s) {
        return Some(Held::default());
    }
    let pointed = pointed(current, pin.version).map(Side::Pointed);
    let side = pointed.or_else(|| place.pinned((current, pins), pin.version).map(Side::Earlier));
    let gives = match &side {
        None if place.is_loading_pinned(pins, pin.version) => return None,
        // Another node gave it, which knows of a switch already that comes to this one in a moment.
        None if pin.is_ahead(now_s, pins.since_ms()) => Gives::Nothing,
        // Also where a script of an open page sends the request: who has sent a cookie keeps cookies.
        None => Gives::Next,
        Some(_) if pin.is_due(now_s, pins.idle_s) => Gives::Again,
        Some(_) => Gives::Nothing,
    };
    Some(Held { side, gives })
}

/// The version that the pointer names, live or the canary, whose id begins with `short`.
fn pointed<'c>(current: &'c Arc<Current>, short: &[u8]) -> Option<&'c Arc<Current>> {
    let canary = current.canary.as_ref().map(|canary| &canary.next);
    [Some(current), canary].into_iter().flatten().find(|side| side.version.id.is_short(short))
}

impl Pins {
    /// The cookie that holds a visitor on a version from now on.
    pub(super) fn cookie(&self, version: &Version, now_s: u64) -> Option<HeaderValue> {
        HeaderValue::try_from(set_cookie(&version.id.short(), self.since_ms(), now_s, self.idle_s)).ok()
    }
}
