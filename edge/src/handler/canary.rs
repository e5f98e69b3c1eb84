//! Which side of a canary a request gets. A cookie decides: the edge's own, which a browser gets with the first page that
//! it navigates to, or one that the site names. Requests without it, such as those of programs and crawlers, get the live
//! version.

use std::fmt::Write as _;

use devanture_site::canary::{self, VISITOR_CHARACTERS, VISITOR_COOKIE, is_drawn, is_visitor};
use http::header::{COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};

use super::decision::Head;
use super::site_request::{SEC_FETCH_DEST, SEC_FETCH_MODE};
use crate::engine::Name;
use crate::live::Canary;

static ACCEPT: Name = Name::of("accept");

/// For how long a browser keeps its cookie, in seconds: 30 days, longer than a canary.
const COOKIE_S: u32 = 30 * 24 * 60 * 60;

/// Whether the visitor gets the canary, and the cookie to give where the visitor has none.
pub(super) fn draw(head: &Head<'_>, canary: &Canary) -> (bool, Option<HeaderValue>) {
    // Line by line: HTTP/2 and HTTP/3 may have several (RFC 9113 §8.2.3).
    let visitor = head.fields.get_all(&COOKIE).find_map(|cookies| canary::cookie(cookies, canary.cookie()));
    if !canary.sets_cookie() {
        return (visitor.is_some_and(|visitor| canary.split.takes(visitor)), None);
    }
    if let Some(visitor) = visitor.filter(|visitor| is_visitor(visitor)) {
        return (canary.split.takes(visitor), None);
    }
    if !is_first_page(head) {
        return (false, None);
    }
    let mut visitor = String::with_capacity(VISITOR_CHARACTERS);
    // Writing to a string does not fail.
    write!(visitor, "{:016x}", rand::random::<u64>()).ok();
    let is_taken = canary.split.takes(visitor.as_bytes());
    let cookie = format!("{VISITOR_COOKIE}={visitor}; Path=/; Max-Age={COOKIE_S}; Secure; HttpOnly; SameSite=Lax");
    // A visitor who cannot be recognised again gets what all others without a cookie do.
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => (is_taken, Some(cookie)),
        Err(_) => (false, None),
    }
}

/// Whether a request without a cookie is one of a browser that navigates, and is given one.
pub(super) fn is_first_page(head: &Head<'_>) -> bool {
    if !matches!(*head.method, Method::GET | Method::HEAD) {
        return false;
    }
    let field = |name: &HeaderName| head.fields.joined(name);
    let (mode, dest) = (field(&SEC_FETCH_MODE), field(&SEC_FETCH_DEST));
    let (accept, user_agent) = (head.fields.named(&ACCEPT), field(&USER_AGENT));
    is_drawn(mode.as_deref(), dest.as_deref(), accept.as_deref(), user_agent.as_deref())
}
