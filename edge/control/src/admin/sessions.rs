//! Browser sessions: cookie and operations.

use std::net::IpAddr;

use devanture_config::api::{SESSION_COOKIE, Secret, SessionRequest};
use devanture_config::problem::{Code, Problem};
use http::header::{SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::answer::Body;
use super::body::RequestBody;
use super::browser_request::{RequestHost, check_site, cookie};
use super::call::{Answer, Call};
use super::state::Admin;
use super::{Via, access, answer, body, passkeys};
use crate::access::{Browser, Credentials, SESSIONS_PAGE, SessionMade};
use crate::ledger::{Actor, Credential, Error};

/// Attributes of the cookie.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

impl Admin {
    /// Returns the actor of the session in the request's cookie; `None` without a cookie. The request's origin is
    /// checked first, so that a cross-site request learns nothing about the session.
    ///
    /// # Errors
    /// `cross_site`; `bad_token` for an ended session.
    pub(super) async fn session_actor(
        &self,
        method: &Method,
        headers: &HeaderMap,
        uri: &Uri,
        via: Via,
    ) -> Result<Option<Actor>, Error> {
        let Some(secret) = cookie(headers) else { return Ok(None) };
        check_site(method, headers)?;
        // The forwarding node has already checked the host.
        if !matches!(via, Via::Node(_)) {
            self.check_host(RequestHost::of(headers, uri).as_ref())?;
        }
        let recognised = self.credentials.recognise_session(secret, via.address()).await;
        match recognised {
            // Another node may have just created the session.
            Err(error) if error.0.code == Code::BadToken && self.is_shared() && Credentials::may_be_session(secret) => {
                self.catch_up_for_stranger().await;
                self.credentials.recognise_session(secret, via.address()).await.map(Some)
            }
            recognised => recognised.map(Some),
        }
    }

    /// Refuses the hostname of an app, present or future: the app would also receive a cookie for the hostname,
    /// whatever the port (RFC 6265 §8.5).
    ///
    /// # Errors
    /// `cross_site`.
    pub(super) fn check_host(&self, host: Option<&RequestHost>) -> Result<(), Error> {
        let detail = match host {
            Some(host) if !self.publisher.environments().places.may_be_an_apps(&host.name) => return Ok(()),
            Some(_) => "This hostname is that of an app, or may become one's: the app would be sent the session, too.",
            None => "The request does not say which host it is for.",
        };
        let hint = "reach the edge by its address, by a name that is outside of its domains, or by a reserved one directly \
            below `domain`, such as `edge`";
        Err(Problem::new(Code::CrossSite, detail).hint(hint).into())
    }

    pub(super) async fn begin_session(&self, request: Request<RequestBody>, from: Option<IpAddr>) -> Answer {
        let (headers, uri) = (request.headers().clone(), request.uri().clone());
        let wanted: SessionRequest = access::shown(request).await?;
        check_site(&Method::POST, &headers)?;
        let host = RequestHost::of(&headers, &uri);
        self.check_host(host.as_ref())?;
        let name = headers.get(USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let browser = Browser { from, name: name.to_owned() };
        let made = self.begun(&wanted, host.as_ref(), &browser).await?;
        self.end_former(&headers, from).await;
        let mut response = answer::json(StatusCode::CREATED, &made.session);
        set_cookie(&mut response, made.secret.expose(), made.lifetime_s);
        Ok(response)
    }

    async fn begun(
        &self,
        wanted: &SessionRequest,
        host: Option<&RequestHost>,
        browser: &Browser,
    ) -> Result<SessionMade, Error> {
        match wanted {
            SessionRequest { account: Some(account), password: Some(password), token: None, passkey: None } => {
                self.credentials.begin_by_password(account, password, browser).await
            }
            SessionRequest { account: None, password: None, token: Some(token), passkey: None } => {
                self.begun_by_token(token, browser).await
            }
            SessionRequest { account: None, password: None, token: None, passkey: Some(passkey) } => {
                self.credentials.begin_by_passkey(passkey, &passkeys::site(host)?, browser).await
            }
            _ => Err(Problem::new(Code::Unauthenticated, "This does not say who you are.")
                .hint("send `account` and `password`, `passkey`, or `token`")
                .into()),
        }
    }

    async fn begun_by_token(&self, token: &Secret, browser: &Browser) -> Result<SessionMade, Error> {
        let begun = self.credentials.begin_by_token(token, browser).await;
        match begun {
            // Another node may have just created the session.
            Err(error)
                if error.0.code == Code::BadToken && self.is_shared() && Credentials::may_be_token(token.expose()) =>
            {
                self.catch_up_for_stranger().await;
                self.credentials.begin_by_token(token, browser).await
            }
            begun => begun,
        }
    }

    /// Ends the browser's previous session, replaced by the new cookie.
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

/// Returns the session id of an actor.
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

fn set_cookie(response: &mut Response<Body>, value: &str, lifetime_s: u64) {
    let field = format!("{SESSION_COOKIE}={value}; Max-Age={lifetime_s}; {ATTRIBUTES}");
    response.headers_mut().extend(HeaderValue::from_str(&field).ok().map(|mut field| {
        field.set_sensitive(true);
        (SET_COOKIE, field)
    }));
}
