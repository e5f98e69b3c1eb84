//! Logins of visitors at the protected hostname: the start of each login, and the return and admission of the visitor.
//!
//! In between the browser is at the login hostname, which belongs to the edge: no app sees a typed or sent secret. The
//! secret in the browser's cookie at the protected hostname keeps an attacker from having the browser finish the
//! attacker's login.

use devanture_config::api::{LOGIN_COOKIE, ShareTarget};
use http::{HeaderValue, Method};
use percent_encoding::percent_decode_str;
use rand::RngCore as _;

use super::decision::{Decision, Head};
use super::refused::Refused;
use super::visitor::{AtLogin, CALLBACK_PATH, Kind, LOGIN_PATH, LOGOUT_PATH, Visitor};
use super::visitor_cookie::{self, cookie_values};
use super::visitor_decision::{form_of, local_address};
use super::visitor_page::{entered, page};
use super::visitor_ticket::{Purpose, Ticket};
use crate::live::{Live, Restriction};

/// Seconds that a login may take, including typing and second factors.
pub(super) const LOGIN_S: u64 = 600;
/// Longest return address after a login, in bytes.
const TO_BYTES_MAX: usize = 1_024;
/// Bytes of the secret of a browser.
const SECRET_BYTES: usize = 32;
/// Longest cookie of a login, in bytes.
pub(super) const COOKIE_BYTES_MAX: usize = 4_000;
const NOT_HERE: &str = "This login began in another browser, or took too long. Please log in again.";
const NOWHERE: &str = "Nobody can log in on this server just now.";

/// Decides for the start of a login at protected content, and for the return from a login.
pub(super) fn decide(head: &Head<'_>, live: &Live, restriction: &Restriction, target: &ShareTarget) -> Decision {
    match parameter(head.query, "ticket") {
        Some(text) => admitted(head, live, (restriction, target), &text),
        None => begun(head, live, restriction),
    }
}

/// Decides for a request to the login hostname.
pub(super) fn decide_at_login(head: &Head<'_>) -> Decision {
    let step = match (head.method, head.path) {
        (&Method::GET, LOGIN_PATH) => AtLogin::Begin,
        (&Method::GET, CALLBACK_PATH) => AtLogin::Back,
        (&Method::POST, LOGIN_PATH) => AtLogin::Form,
        (&Method::GET, LOGOUT_PATH) => AtLogin::Person,
        (&Method::POST, LOGOUT_PATH) => AtLogin::Logout,
        _ => return Decision::Refuse(Refused::NotFound.into()),
    };
    Decision::Visitor(Box::new(Visitor(Kind::Login(step))))
}

/// Redirects a browser to the login hostname.
fn begun(head: &Head<'_>, live: &Live, restriction: &Restriction) -> Decision {
    let to = parameter(head.query, "to").unwrap_or_default();
    let to = local_address(&to);
    let (mut secret, now_s) = ([0; SECRET_BYTES], (head.now_s)());
    rand::rng().fill_bytes(&mut secret);
    let request = Ticket {
        app: restriction.app.clone(),
        place: restriction.place.clone(),
        host: head.host.to_owned(),
        to: if to.len() > TO_BYTES_MAX { "/" } else { to }.to_owned(),
        browser: blake3::hash(&secret).to_hex().to_string(),
        expires_s: now_s.saturating_add(LOGIN_S),
        session_ends_s: 0,
        account: None,
    };
    let sealed = restriction.cookie_key(live).and_then(|key| request.seal(Purpose::Request, &key));
    match (login_url(live), sealed, cookie(&hex::encode(secret), LOGIN_S)) {
        (Some(url), Some(request), Some(cookie)) => entered(&format!("{url}{LOGIN_PATH}?request={request}"), [cookie]),
        _ => page(form_of(restriction, to), Some(NOWHERE), Refused::Unavailable),
    }
}

/// Admits a visitor with a ticket made for the browser.
fn admitted(head: &Head<'_>, live: &Live, (restriction, target): (&Restriction, &ShareTarget), text: &str) -> Decision {
    let now_s = (head.now_s)();
    let ticket = Ticket::open(Purpose::Entry, text, live, now_s).map(|(ticket, _)| ticket);
    let ticket = ticket.filter(|ticket| ticket.host == head.host && ticket.is_of(restriction));
    let to = ticket.as_ref().map_or("/", |ticket| local_address(&ticket.to));
    let own = ticket.as_ref().filter(|ticket| {
        let expected = blake3::Hash::from_hex(&ticket.browser).ok();
        cookie_values(head.fields, LOGIN_COOKIE, COOKIE_BYTES_MAX)
            .filter_map(|value| hex::decode(value).ok())
            // BLAKE3 hashes compare in constant time.
            .any(|secret| Some(blake3::hash(&secret)) == expected)
    });
    let Some(own) = own else {
        // The page was reloaded, or the login succeeded in another tab.
        if visitor_cookie::admits(head.fields, head.host, restriction, target, live, now_s) {
            return entered(to, []);
        }
        return page(form_of(restriction, to), Some(NOT_HERE), Refused::Protected);
    };
    let key = restriction.cookie_key(live);
    let subject = visitor_cookie::login_subject(own.account.as_deref());
    let let_in = key.and_then(|key| visitor_cookie::set(head.host, &subject, &key, now_s, own.session_ends_s));
    match (let_in, cookie("", 0)) {
        // A ticket is valid once: the cookie that the ticket is bound to is removed.
        (Some(let_in), Some(ended)) => entered(to, [let_in, ended]),
        _ => Decision::Refuse(Refused::Unavailable.into()),
    }
}

/// The origin of the login hostname; `None` if absent, or taken by an app.
pub(super) fn login_url(live: &Live) -> Option<String> {
    let domains = live.domains();
    domains.login().filter(|login| !live.is_an_apps(login)).map(|login| domains.url(login))
}

/// The cookie of a login; a lifetime of 0 s removes the cookie.
pub(super) fn cookie(value: &str, lifetime_s: u64) -> Option<HeaderValue> {
    cookie_named(LOGIN_COOKIE, value, lifetime_s)
}

/// A cookie of `name`, with the attributes of all visitor cookies; a lifetime of 0 s removes the cookie.
pub(super) fn cookie_named(name: &str, value: &str, lifetime_s: u64) -> Option<HeaderValue> {
    let attributes = visitor_cookie::ATTRIBUTES;
    HeaderValue::from_str(&format!("{name}={value}; Max-Age={lifetime_s}; {attributes}")).ok()
}

/// The first query parameter of `name`, decoded.
pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let query = Some("a=1&code=x%2By+z&code=2&state");
        assert_eq!(parameter(query, "code").as_deref(), Some("x+y z"));
        assert_eq!((parameter(query, "state"), parameter(query, "cod"), parameter(None, "a")), (None, None, None));
    }
}
