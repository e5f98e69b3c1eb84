//! Decides for visitors of protected content by the fields of the request: without I/O, as every decision.

use std::sync::Arc;

use devanture_config::api::{Protection, Secret, ShareTarget, is_credential};
use devanture_site::navigation;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, Method};

use super::decision::{Decision, Head};
use super::refused::Refused;
use super::visitor::{AtProtected, CALLBACK_PATH, Kind, LOGIN_PATH, SHARE_PARAMETER, SHARE_PATH, Step, Visitor};
use super::visitor_page::{Form, entered, page};
use super::{visitor_cookie, visitor_login};
use crate::live::{Live, Restriction, ShareLink};
use devanture_base::clock;

/// Longest return address of a visitor, in bytes.
const TO_BYTES_MAX: usize = 2_048;
/// Notice to a visitor with an invalid link.
pub(super) const ENDED: &str = "This link has ended, or was revoked.";

/// Decides for a visitor of protected content; `None` for an admitted visitor.
pub(super) fn decide(
    head: &Head<'_>,
    live: &Live,
    restriction: &Arc<Restriction>,
    target: ShareTarget,
) -> Option<Decision> {
    if restriction.mode == Protection::Off {
        return Some(Decision::Refuse(Refused::NotFound.into()));
    }
    let is_read = matches!(*head.method, Method::GET | Method::HEAD);
    if head.path == SHARE_PATH && is_read {
        return Some(opened(head, live, restriction, &target));
    }
    if head.path == LOGIN_PATH && restriction.mode.has_login() && *head.method == Method::GET {
        return Some(visitor_login::decide(head, live, restriction, &target));
    }
    let visitor = |step| {
        let at = AtProtected { restriction: Arc::clone(restriction), target: target.clone(), step };
        Decision::Visitor(Box::new(Visitor(Kind::Protected(at))))
    };
    if head.path == LOGIN_PATH && *head.method == Method::POST {
        return Some(visitor(Step::Form));
    }
    if visitor_cookie::admits(head.fields, head.host, restriction, &target, live, (head.now_s)()) {
        return None;
    }
    if let Some(token) = token(head) {
        return Some(visitor(Step::Token(token)));
    }
    Some(stranger(head, restriction))
}

/// The response to a stranger: a page to a person, a problem to a program.
fn stranger(head: &Head<'_>, restriction: &Restriction) -> Decision {
    let field = |name: HeaderName| head.fields.joined(&name);
    let (mode, dest) = (HeaderName::from_static("sec-fetch-mode"), HeaderName::from_static("sec-fetch-dest"));
    let is_read = matches!(*head.method, Method::GET | Method::HEAD);
    if !is_read || !navigation::wants_page(field(mode).as_deref(), field(dest).as_deref(), field(ACCEPT).as_deref()) {
        return Decision::Refuse(Refused::Protected.into());
    }
    let to = devanture_site::decide::with_query(head.path.into(), head.query);
    page(form_of(restriction, local_address(&to)), None, Refused::Protected)
}

/// The form of a protection.
pub(super) fn form_of<'f>(restriction: &Restriction, to: &'f str) -> Form<'f> {
    let has_password = restriction.record.as_ref().is_some_and(|record| record.password.is_some());
    match restriction.mode {
        Protection::Password if has_password => Form::Password(to),
        Protection::Accounts | Protection::Oidc => Form::Login(to),
        _ => Form::None,
    }
}

/// The response to a share link.
fn opened(head: &Head<'_>, live: &Live, restriction: &Restriction, target: &ShareTarget) -> Decision {
    let text = head.query.and_then(|query| query.split('&').find_map(|part| part.strip_prefix(SHARE_PARAMETER)));
    let Some((id, link)) = text.and_then(|text| link(live, restriction, target, text)) else {
        return page(form_of(restriction, "/"), Some(ENDED), Refused::Protected);
    };
    if link.record.password.is_some() {
        return page(Form::Link(text.unwrap_or_default()), None, Refused::Protected);
    }
    entered_by_link(live, head.host, id, &link)
}

pub(super) fn entered_by_link(live: &Live, host: &str, id: &str, link: &ShareLink) -> Decision {
    let (now_s, expires_s) = (clock::now_ms() / 1_000, link.record.expires_ms / 1_000);
    let cookie = link.cookie_key(live).and_then(|key| visitor_cookie::set(host, id, &key, now_s, expires_s));
    cookie.map_or_else(|| Decision::Refuse(Refused::Unavailable.into()), |cookie| entered("/", [cookie]))
}

/// The link of the text, if the link opens the target.
pub(super) fn link<'t>(
    live: &Live,
    restriction: &Restriction,
    target: &ShareTarget,
    text: &'t str,
) -> Option<(&'t str, Arc<ShareLink>)> {
    let (id, secret) = text.split_once('_')?;
    let link = live.share_link(&restriction.app, id).filter(|link| link.opens(target))?;
    // BLAKE3 hashes compare in constant time.
    let is_right = blake3::hash(secret.as_bytes()) == blake3::Hash::from_bytes(*link.record.hash.as_bytes());
    is_right.then_some((id, link))
}

/// The edge's token in a request.
fn token(head: &Head<'_>) -> Option<Secret> {
    let field = head.fields.joined(&AUTHORIZATION)?;
    let (scheme, token) = str::from_utf8(&field).ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && is_credential(token)).then(|| Secret::new(token))
}

/// A local address that a browser resolves to the same host, for any input; `/` for an address of another host.
///
/// A browser parses `//` and `/\` as the start of a hostname, and removes control characters before.
pub(super) fn local_address(to: &str) -> &str {
    let mut bytes = to.bytes();
    let is_local = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
    let is_plain = to.len() <= TO_BYTES_MAX && !to.chars().any(char::is_control);
    let is_page = ![LOGIN_PATH, CALLBACK_PATH, SHARE_PATH].iter().any(|path| to.starts_with(path));
    if is_local && is_plain && is_page { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_sent_to_no_other_host() {
        for (to, expected) in [
            ("/", "/"),
            ("/a/b?c=//d", "/a/b?c=//d"),
            ("/.//evil.example", "/.//evil.example"),
            ("", "/"),
            ("a", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("\\\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("/\n/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("/.well-known/devanture/share?link=a_b", "/"),
            ("/.well-known/devanture/login", "/"),
        ] {
            assert_eq!(local_address(to), expected, "{to:?}");
        }
        assert_eq!(local_address(&format!("/{}", "a".repeat(TO_BYTES_MAX))), "/");
    }
}
