//! Which side of a canary a request gets. A cookie decides: the edge's own, which a browser gets with the first page
//! that it navigates to, or one that the site names. Requests without it, such as those of programs and crawlers, get
//! the live version.

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

/// For how long a browser keeps its cookie, in seconds: 30 days, longer than a canary.
const COOKIE_S: u32 = 30 * 24 * 60 * 60;

/// Longest line of `Cookie` that a connection remembers, in bytes: what is longer is drawn by each time.
const REMEMBERED_BYTES_MAX: usize = 1_024;

/// What the last request of a connection was drawn by, and what came of it: the next one is mostly of the same visitor.
#[derive(Debug, Default)]
pub(super) struct LastDraw {
    /// The number of the canary; 0 where nobody was drawn.
    canary: u64,
    /// The line of `Cookie` that has the visitor's.
    line: Vec<u8>,
    is_taken: bool,
    /// Whether no request follows that it would be remembered for.
    is_of_one: bool,
}

impl LastDraw {
    /// For one request alone.
    pub(super) fn of_one() -> Self {
        Self { is_of_one: true, ..Self::default() }
    }

    /// Whether the visitor gets the canary, where that is known without a search: the request has one line of `Cookie`,
    /// that of the last request, and the canary has not changed since.
    #[inline]
    pub(super) fn again(&self, head: &Head<'_>, canary: &Canary) -> Option<bool> {
        if self.canary != canary.number {
            return None;
        }
        (head.fields.only(&COOKIES)? == self.line).then_some(self.is_taken)
    }

    /// Draws by a line of `Cookie`; `None` where it has no cookie that says who the visitor is.
    fn by(&mut self, line: &[u8], canary: &Canary) -> Option<ByLine> {
        if self.canary == canary.number && self.line == line {
            return Some(ByLine::Drawn(self.is_taken));
        }
        let visitor = canary::cookie(line, canary.cookie())?;
        if canary.sets_cookie() && !is_visitor(visitor) {
            return Some(ByLine::Strange);
        }
        let is_taken = canary.split.takes(visitor);
        if line.len() <= REMEMBERED_BYTES_MAX && !self.is_of_one {
            self.line.clear();
            self.line.extend_from_slice(line);
            (self.canary, self.is_taken) = (canary.number, is_taken);
        }
        Some(ByLine::Drawn(is_taken))
    }
}

/// What a line of `Cookie` says that has the cookie.
enum ByLine {
    /// Whether its visitor gets the canary.
    Drawn(bool),
    /// What the edge gave nobody: it counts as no cookie.
    Strange,
}

/// Whether the visitor gets the canary, and the cookie to give where the visitor has none.
pub(super) fn draw(head: &Head<'_>, canary: &Canary, last: &mut LastDraw) -> (bool, Option<HeaderValue>) {
    // Line by line: HTTP/2 and HTTP/3 may have several (RFC 9113 §8.2.3).
    if let Some(ByLine::Drawn(is_taken)) = head.fields.get_all(&COOKIE).find_map(|line| last.by(line, canary)) {
        return (is_taken, None);
    }
    if !canary.sets_cookie() || !is_first_page(head) {
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
