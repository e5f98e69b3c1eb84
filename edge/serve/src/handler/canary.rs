//! Draws the side of a canary for a request. A cookie decides: either the edge's own, set with the first page that a
//! browser navigates to, or a cookie named by the site. Requests without the cookie, such as those of programs and
//! crawlers, get the live version.

use std::fmt::Write as _;

use devanture_site::canary::{self, VISITOR_CHARACTERS, VISITOR_COOKIE, is_drawn, is_visitor};
use http::header::{COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};

use super::decision::Head;
use super::site_request::{SEC_FETCH_DEST, SEC_FETCH_MODE};
use crate::live::Canary;
use devanture_http::Name;

static ACCEPT: Name = Name::of("accept");
static COOKIES: Name = Name::of("cookie");

/// Lifetime of the cookie in a browser, in seconds: 30 days, longer than a canary.
const COOKIE_S: u32 = 30 * 24 * 60 * 60;

/// Longest line of `Cookie` that a connection remembers, in bytes: a longer line is drawn for each request.
const REMEMBERED_BYTES_MAX: usize = 1_024;

/// Input and result of a connection's last draw: the next request is mostly of the same visitor.
#[derive(Debug, Default)]
pub(super) struct LastDraw {
    /// The number of the canary; 0 before any draw.
    canary: u64,
    /// The line of `Cookie` with the visitor's cookie.
    line: Vec<u8>,
    is_taken: bool,
    /// True if no later request could use the draw.
    is_of_one: bool,
}

impl LastDraw {
    /// For one request alone.
    pub(super) fn of_one() -> Self {
        Self { is_of_one: true, ..Self::default() }
    }

    /// The cached draw: true if the visitor gets the canary. `None` unless the request's only line of `Cookie` equals
    /// the last request's and the canary is unchanged.
    #[inline]
    pub(super) fn again(&self, head: &Head<'_>, canary: &Canary) -> Option<bool> {
        if self.canary != canary.number {
            return None;
        }
        (head.fields.only(&COOKIES)? == self.line).then_some(self.is_taken)
    }

    /// Draws for a line of `Cookie`; `None` if the line has no cookie that identifies the visitor.
    fn by(&mut self, line: &[u8], canary: &Canary) -> Option<CookieDraw> {
        if self.canary == canary.number && self.line == line {
            return Some(CookieDraw::Drawn(self.is_taken));
        }
        let visitor = canary::cookie(line, canary.cookie())?;
        if canary.sets_cookie() && !is_visitor(visitor) {
            return Some(CookieDraw::Strange);
        }
        let is_taken = canary.split.takes(visitor);
        if line.len() <= REMEMBERED_BYTES_MAX && !self.is_of_one {
            self.line.clear();
            self.line.extend_from_slice(line);
            (self.canary, self.is_taken) = (canary.number, is_taken);
        }
        Some(CookieDraw::Drawn(is_taken))
    }
}

/// Result for a line of `Cookie` that has the cookie.
enum CookieDraw {
    /// Drawn; true if the visitor gets the canary.
    Drawn(bool),
    /// A value that the edge never set: counts as no cookie.
    Strange,
}

/// Returns true if the visitor gets the canary, and the cookie to set for a visitor without one.
pub(super) fn draw(head: &Head<'_>, canary: &Canary, last: &mut LastDraw) -> (bool, Option<HeaderValue>) {
    // Line by line: HTTP/2 and HTTP/3 may have several (RFC 9113 §8.2.3).
    if let Some(CookieDraw::Drawn(is_taken)) = head.fields.get_all(&COOKIE).find_map(|line| last.by(line, canary)) {
        return (is_taken, None);
    }
    if !canary.sets_cookie() || !is_first_page(head) {
        return (false, None);
    }
    let mut visitor = String::with_capacity(VISITOR_CHARACTERS);
    // Writing to a string never fails.
    write!(visitor, "{:016x}", rand::random::<u64>()).ok();
    let is_taken = canary.split.takes(visitor.as_bytes());
    let cookie = format!("{VISITOR_COOKIE}={visitor}; Path=/; Max-Age={COOKIE_S}; Secure; HttpOnly; SameSite=Lax");
    // A visitor that cannot be recognised again gets the live version, like all visitors without a cookie.
    match HeaderValue::from_str(&cookie) {
        Ok(cookie) => (is_taken, Some(cookie)),
        Err(_) => (false, None),
    }
}

/// Returns true if a request without a cookie is a navigation of a browser, which is given a cookie.
pub(super) fn is_first_page(head: &Head<'_>) -> bool {
    if !matches!(*head.method, Method::GET | Method::HEAD) {
        return false;
    }
    let field = |name: &HeaderName| head.fields.joined(name);
    let (mode, dest) = (field(&SEC_FETCH_MODE), field(&SEC_FETCH_DEST));
    let (accept, user_agent) = (head.fields.named(&ACCEPT), field(&USER_AGENT));
    is_drawn(mode.as_deref(), dest.as_deref(), accept.as_deref(), user_agent.as_deref())
}
