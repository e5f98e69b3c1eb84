//! The public page of an environment with the live version, its time and the state of the backends, if the site enables
//! the page. The page has no script and no secret.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use devanture_config::text::html_text;
use devanture_site::cache;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::decision::{Decision, Head, SmallAnswer, StatusPage};
use super::header_rules::HeaderRules;
use crate::live::{Current, Place};

/// The page loads no resource, and no page may frame the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// State of an environment on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Down,
    Paused,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Up => "It is up.",
            Self::Down => "Parts of it do not answer just now.",
            Self::Paused => "It is paused, and comes back soon.",
        }
    }
}

/// The response to a request for the page, with a body written at sending.
pub(super) fn decision(head: &Head<'_>, current: &Arc<Current>, place: Option<&Place>, custom_host: bool) -> Decision {
    let accept = head.fields.joined(&ACCEPT);
    let accepts = |media_type: &str| accept.as_deref().is_some_and(|accept| contains(accept, media_type.as_bytes()));
    let is_json = accepts(JSON) && !accepts("text/html");
    let is_paused = place.is_some_and(|place| place.paused().is_some());
    let mut headers = HeaderMap::with_capacity(8);
    for (name, value) in [
        (CONTENT_TYPE, if is_json { JSON } else { HTML }),
        (CACHE_CONTROL, cache::NEVER),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    SmallAnswer {
        status: StatusCode::OK,
        headers,
        body: Bytes::new(),
        current: Some(Arc::clone(current)),
        ruled: HeaderRules::default(),
        custom_host,
        status_page: Some(StatusPage { is_json, is_paused }),
    }
    .into()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// The body of the page; `are_up` is true if the backends accept requests.
pub(super) fn body(page: StatusPage, current: &Current, host: &str, are_up: bool) -> Bytes {
    let state = match (page.is_paused, are_up) {
        (true, _) => State::Paused,
        (false, true) => State::Up,
        (false, false) => State::Down,
    };
    Bytes::from(if page.is_json { json(state, current) } else { html(state, current, host) })
}

fn json(state: State, current: &Current) -> String {
    let page = serde_json::json!({
        "app": current.version.app,
        "environment": current.version.place,
        "state": state.word(),
        "up": state == State::Up,
        "version": current.version.id,
        "live_since_ms": current.live_since_ms(),
    });
    page.to_string()
}

fn html(state: State, current: &Current, host: &str) -> String {
    let host = html_text::escaped(host);
    let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(current.last_modified_s));
    let since = since.map(httpdate::fmt_http_date).unwrap_or_default();
    let (word, sentence, version) = (state.word(), state.sentence(), current.version.id.short());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{host}: {word}</title>\n\
         <style>body{{max-width:36rem;margin:3rem auto;padding:1rem;font:1.1rem/1.5 system-ui,sans-serif;\
         color-scheme:light dark}}dt{{font-weight:600}}dd{{margin:0 0 1rem}}</style>\n\
         <h1>{host}</h1>\n<p>{sentence}</p>\n<dl>\n<dt>Version</dt>\n<dd>{version}</dd>\n<dt>Live since</dt>\n\
         <dd>{since}</dd>\n</dl>\n</html>\n"
    )
}
