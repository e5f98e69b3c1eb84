//! Sessions of browsers: their cookie, what a browser says of where a request comes from, and their operations.
//!
//! A request with the cookie and without `Authorization` acts as the session. It has to come from a page of this very
//! origin, as the browser itself says in `Sec-Fetch-Site` (Fetch Metadata), which no page can set: so no other site, and
//! no app on another hostname or port, makes a browser send one that counts.

use std::net::IpAddr;

use devanture_config::api::{Secret, SessionRequest};
use devanture_config::problem::{Code, Problem};
use http::header::{COOKIE, HOST, SET_COOKIE, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::answer::Body;
use super::body::RequestBody;
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Via, access, answer, body};
use crate::access::{Browser, SESSIONS_PAGE, SessionMade};
use crate::ledger::{Actor, Credential, Error};

/// The cookie. By its prefix, browsers take it only over HTTPS, for this host alone, and never from a script.
pub(super) const COOKIE_NAME: &str = "__Host-Http-devanture-session";
/// Its attributes.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

impl Admin {
    /// The actor of the session whose cookie a request has; `None` without one. What the browser says of the request's
    /// origin is checked first, so that a request from elsewhere learns nothing of the session.
    ///
    /// # Errors
    /// `cross_site`; `bad_token` for a session that has ended.
    pub(super) async fn session_actor(
        &self,
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
        via: Via,
    ) -> Result<Option<Actor>, Error> {
        let Some(secret) = cookie(headers) else { return Ok(None) };
        check_site(method, headers)?;
        self.check_host(RequestHost::of(headers, uri).as_ref())?;
        let recognised = self.credentials.recognise_session(secret, via.address()).await;
        match recognised {
            // It may have been made on another node a moment ago.
            Err(error) if error.0.code == Code::BadToken && self.is_shared() => {
                self.catch_up(&Method::GET, &HeaderMap::new()).await?;
                self.credentials.recognise_session(secret, via.address()).await.map(Some)
            }
            recognised => recognised.map(Some),
        }
    }

    /// Checks that the hostname of a request is none of an app: a cookie for it would reach the app, too, whatever the
    /// port (RFC 6265 §8.5).
    ///
    /// # Errors
    /// `cross_site`.
    pub(super) fn check_host(&self, host: Option<&RequestHost>) -> Result<(), Error> {
        if self.is_of_an_app(host) {
            let detail = "This hostname is that of an app, whose backends would be sent the session, too.";
            let hint = "use a name of the edge that no app has";
            return Err(Problem::new(Code::CrossSite, detail).hint(hint).into());
        }
        Ok(())
    }

    /// Whether the hostname of a request is one of an app.
    pub(super) fn is_of_an_app(&self, host: Option<&RequestHost>) -> bool {
        let live = &self.publisher.ledger().live;
        // One that no app has yet may be the next one's, which would be sent the cookie.
        host.is_none_or(|host| live.domains().may_be_an_apps(&host.name) || live.serves(&host.name))
    }

    pub(super) async fn begin_session(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let (headers, uri) = (request.headers().clone(), request.uri().clone());
        let wanted: SessionRequest = access::shown(request).await?;
        check_site(&Method::POST, &headers)?;
        self.check_host(RequestHost::of(&headers, &uri).as_ref())?;
        let name = headers.get(USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let browser = Browser { from, name: name.to_owned() };
        let made = self.begun(&wanted, &browser).await?;
        self.end_former(&headers, from).await;
        let mut response = answer::json(StatusCode::CREATED, &made.session);
        set_cookie(&mut response, made.secret.expose(), made.lifetime_s);
        Ok(response)
    }

    async fn begun(&self, wanted: &SessionRequest, browser: &Browser) -> Result<SessionMade, Error> {
        match wanted {
            SessionRequest { account: Some(account), password: Some(password), token: None } => {
                self.credentials.begin_by_password(account, password, browser).await
            }
            SessionRequest { account: None, password: None, token: Some(token) } => {
                self.begun_by_token(token, browser).await
            }
            _ => Err(Problem::new(Code::Unauthenticated, "This does not say who you are.")
                .hint("send `account` and `password`, or `token` alone")
                .into()),
        }
    }

    async fn begun_by_token(&self, token: &Secret, browser: &Browser) -> Result<SessionMade, Error> {
        let begun = self.credentials.begin_by_token(token, browser).await;
        match begun {
            // It may have been made on another node a moment ago.
            Err(error) if error.0.code == Code::BadToken && self.is_shared() => {
                self.catch_up(&Method::GET, &HeaderMap::new()).await?;
                self.credentials.begin_by_token(token, browser).await
            }
            begun => begun,
        }
    }

    /// Ends the session that the browser had before: it shows the next one from now on.
    async fn end_former(&self, headers: &HeaderMap, from: Option<IpAddr>) {
        let Some(secret) = cookie(headers) else { return };
        if let Ok(actor) = self.credentials.recognise_session(secret, from).await {
            let id = actor.credential.id().unwrap_or_default().to_owned();
            if let Err(error) = self.credentials.end_session(&actor, &id).await {
                tracing::warn!(%error, "the former session of a browser could not be ended");
            }
        }
    }

    pub(super) async fn session(&self, call: Call) -> Answer {
        Ok(answer::json(StatusCode::OK, &self.credentials.session(&call.actor).await?))
    }

    pub(super) async fn end_own_session(&self, call: Call) -> Answer {
        let id = session_of(&call.actor)?;
        self.credentials.end_session(&call.actor, id).await?;
        let mut response = answer::no_content();
        set_cookie(&mut response, "", 0);
        Ok(response)
    }

    pub(super) async fn sessions(&self, call: Call) -> Answer {
        let page = body::page(call.uri(), "after", SESSIONS_PAGE)?;
        Ok(answer::json(StatusCode::OK, &self.credentials.sessions(&call.actor, &page).await?))
    }

    pub(super) async fn end_session(&self, call: Call) -> Answer {
        self.credentials.end_session(&call.actor, call.path.id()).await?;
        Ok(answer::no_content())
    }
}

/// The id of the session of an actor.
///
/// # Errors
/// `forbidden` for another credential.
pub(super) fn session_of(actor: &Actor) -> Result<&str, Error> {
    match &actor.credential {
        Credential::Session(id, _) => Ok(id),
        _ => Err(Problem::new(Code::Forbidden, "This is for the session of a browser alone.")
            .hint("`POST /v1/session` begins one")
            .into()),
    }
}

/// The host that a request is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestHost {
    /// Its hostname, in lower case and without a last dot.
    pub(super) name: String,
    /// Its port, where the request says one.
    pub(super) port: Option<u16>,
}

impl RequestHost {
    /// `None` where the request says none, or no one host.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        let field = only(headers, HOST.as_str()).and_then(|field| field.parse::<Authority>().ok());
        // That of HTTP/2 is in the address.
        let authority = uri.authority().cloned().or(field)?;
        let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
        Some(Self { name, port: authority.port_u16() })
    }
}

/// The value of a field that is there once.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())?.to_str().ok()
}

/// The value of the session's cookie, if there is one and no other of the name.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// Checks that a browser sent a request for a page of this origin, or for nobody but its user who opens an address.
///
/// # Errors
/// `cross_site`.
fn check_site(method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match only(headers, "sec-fetch-site") {
        Some("same-origin") => Ok(()),
        Some("none") if is_read && only(headers, "sec-fetch-mode") == Some("navigate") => Ok(()),
        _ => Err(Problem::new(Code::CrossSite, "The request does not come from a page of this edge.")
            .hint("a session is for browsers, which say `Sec-Fetch-Site: same-origin`; programs send a token")
            .into()),
    }
}

fn set_cookie(response: &mut Response<Body>, value: &str, lifetime_s: u64) {
    let field = format!("{COOKIE_NAME}={value}; Max-Age={lifetime_s}; {ATTRIBUTES}");
    response.headers_mut().extend(HeaderValue::from_str(&field).ok().map(|mut field| {
        field.set_sensitive(true);
        (SET_COOKIE, field)
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn one_cookie_of_the_name_counts_and_of_two_none() {
        let one = |value: &str| cookie(&headers(&[("cookie", value)])).map(str::to_owned);
        assert_eq!(one("a=b; __Host-Http-devanture-session=x; c=d").as_deref(), Some("x"));
        assert_eq!(one("__Host-Http-devanture-session=dvs_1_2").as_deref(), Some("dvs_1_2"));
        let others =
            ["", "a=b", "__host-http-devanture-session=x", "x__Host-Http-devanture-session=x", "devanture-session=x"];
        for other in others {
            assert_eq!(one(other), None, "{other}");
        }
        assert_eq!(one("__Host-Http-devanture-session=x; __Host-Http-devanture-session=y"), None);
        let twice = [("cookie", "__Host-Http-devanture-session=x"), ("cookie", "__Host-Http-devanture-session=x")];
        assert_eq!(cookie(&headers(&twice)), None);
    }

    #[test]
    fn a_request_comes_from_this_origin_or_is_an_address_that_its_user_opens() {
        let check = |method: Method, fields: &[(&'static str, &str)]| check_site(&method, &headers(fields)).is_ok();
        let (site, mode) = ("sec-fetch-site", "sec-fetch-mode");
        assert!(check(Method::POST, &[(site, "same-origin")]));
        assert!(check(Method::GET, &[(site, "none"), (mode, "navigate")]));
        assert!(check(Method::HEAD, &[(site, "none"), (mode, "navigate")]));
        assert!(!check(Method::GET, &[(site, "none")]));
        assert!(!check(Method::GET, &[(site, "none"), (mode, "cors")]));
        assert!(!check(Method::POST, &[(site, "none"), (mode, "navigate")]));
        assert!(!check(Method::GET, &[(site, "same-origin"), (site, "same-origin")]));
        for other in ["same-site", "cross-site", "", "Same-Origin", "same-origin, same-origin"] {
            assert!(!check(Method::GET, &[(site, other), (mode, "navigate")]), "{other}");
            assert!(!check(Method::POST, &[(site, other)]), "{other}");
        }
        assert!(!check(Method::GET, &[]));
    }

    #[test]
    fn a_host_has_neither_case_nor_a_last_dot() {
        for (field, uri, expected) in [
            ("Edge.Example:8444", "/", Some(("edge.example", Some(8_444)))),
            ("a.example", "https://b.example:1/", Some(("b.example", Some(1)))),
            ("edge.example.", "/", Some(("edge.example", None))),
            ("[::1]:8444", "/", Some(("[::1]", Some(8_444)))),
            ("a b", "/", None),
        ] {
            let found = RequestHost::of(&headers(&[("host", field)]), &uri.parse().unwrap());
            let expected = expected.map(|(name, port): (&str, _)| RequestHost { name: name.to_owned(), port });
            assert_eq!(found, expected, "{field}");
        }
        assert_eq!(RequestHost::of(&headers(&[("host", "a"), ("host", "a")]), &"/".parse().unwrap()), None);
    }
}
