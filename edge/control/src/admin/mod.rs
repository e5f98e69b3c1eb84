//! The HTTP API: a thin layer over `publish` and the modules below, without logic of its own.
//!
//! `operations` is the table of all operations. A request is matched to a row, authenticated, and checked against the
//! row: right, query parameters, deletion of the app or environment, and effect on visitors (`effect`). The row's
//! handler reads the body, calls a module below, and writes the response.

mod access;
mod answer;
mod body;
mod browser_request;
mod bundle;
mod call;
mod canary;
mod collaboration;
mod console;
mod content_digest;
mod copying;
mod data;
mod effect;
mod event_streams;
mod following;
mod forwarding;
mod freshness;
mod hostnames;
mod instances;
mod invitations;
mod login_page;
mod logs;
mod maintenance;
mod merged_logs;
mod monitoring;
mod operations;
mod pages;
mod passkeys;
mod precondition;
mod protection;
mod pushing;
mod reading;
mod retention;
mod run;
mod safekeeping;
mod schedules;
mod sessions;
mod settings;
mod signing;
mod state;
mod upstreams;
mod webhooks;

pub use answer::Body;
pub use monitoring::{
    BACKEND_LINE, CATALOG_DAMAGED_LINE, MISTAKE_LINE, OPEN_LINE, REACH_LINE, SECRETS_LINE, UNWRITABLE_LINE,
};
pub use operations::{OPERATIONS, Operation};
pub use state::{Admin, CertificateOf, Health, Node};

use std::io;
use std::net::IpAddr;

use bytes::Bytes;
use devanture_config::problem::{Code, Problem};
use http::header::{ALLOW, AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;

use crate::access::Credentials;
use crate::cluster::ApiBody;
use crate::ledger::{Actor, Error};
use body::{BodyTimes, RequestBody};
use browser_request::RequestHost;
use call::{Answer, Call, PathParameters};
use content_digest::ContentDigest;
use operations::{AfterDeletion, Found, Handler, PAUSE_PATH};

/// Origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The socket in the data folder; its clients need no token.
    Local,
    /// The network, from the given address; a token is required.
    Network(IpAddr),
    /// Another node, with the address of the client; `None` for a client of the node's socket.
    Node(Option<IpAddr>),
}

impl Via {
    /// Returns true if the client needs no token.
    fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::Node(None))
    }

    /// Returns the client's address, if known.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::Network(address) => Some(address),
            Self::Node(address) => address,
        }
    }
}

impl Admin {
    /// Answers one request, whatever its body comes by.
    pub async fn handle<B>(&self, request: Request<B>, via: Via) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Sync + 'static,
    {
        let request = request.map(|body| body.map_err(io::Error::other).boxed());
        self.handle_boxed(request, via).await
    }

    async fn handle_boxed(&self, request: Request<ApiBody>, via: Via) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let times = BodyTimes::of(&self.publisher.limits());
        let digest = ContentDigest::read(request.headers());
        let request = request.map(|incoming| RequestBody::new(incoming, times, digest, &self.bodies));
        let response = self.answer(request, via).await.unwrap_or_else(|error| answer::problem(&error.0));
        let response = self.with_challenge(self.with_revision(response));
        if is_head { answer::without_content(response) } else { response }
    }

    /// Adds the login provider, if configured, to a refusal that asks for a token.
    fn with_challenge(&self, mut response: Response<Body>) -> Response<Body> {
        if let Some(field) = response.headers_mut().get_mut(WWW_AUTHENTICATE)
            && let Ok(challenge) = HeaderValue::try_from(self.credentials.challenge_field())
        {
            *field = challenge;
        }
        response
    }

    async fn answer(&self, request: Request<RequestBody>, via: Via) -> Answer {
        let found = operations::find(request.method(), request.uri().path());
        match &found {
            Found::Operation(Operation { handler: Handler::Open(run), .. }, _) => {
                return run(self, request, via.address()).await;
            }
            Found::OtherMethods { allowed, is_open: true } => return Ok(method_not_allowed(allowed)),
            _ => {}
        }
        let actor = match self.actor(&request, via).await {
            Ok(actor) => actor,
            Err(error) => return self.to_stranger(error, &request),
        };
        if console::is_its(request.method(), request.uri()) {
            let host = RequestHost::of(request.headers(), request.uri());
            return match self.check_host(host.as_ref()) {
                Ok(()) => self.console(&request),
                Err(refused) => login_page::refused(refused, StatusCode::FORBIDDEN, &request),
            };
        }
        // Checked late: without a token, the shape of the API stays hidden.
        match found {
            Found::Operation(operation, path) => self.run(operation, Call { actor, path, request }, via).await,
            Found::OtherMethods { allowed, .. } => Ok(method_not_allowed(&allowed)),
            Found::Nothing => Err(operations::no_such_address()),
        }
    }

    /// Runs an operation after the checks of its row.
    async fn run(&self, operation: &Operation, mut call: Call, via: Via) -> Answer {
        let Handler::Authorized(right, run) = operation.handler else { return Err(operations::no_such_address()) };
        body::only_parameters(call.uri(), operation.query)?;
        precondition::refuse_unknown(call.request.method(), call.request.headers(), operation.conditions)?;
        self.check_deletion(operation.after_deletion, &call.actor, &call.path).await?;
        right.check(&call.actor, &call.path)?;
        let is_read = call.request.method().is_safe();
        if !is_read && !operation.only_stores() {
            // Checked before the confirmation, which may have just been given on another node.
            self.check_in_force(&call.actor, is_read).await?;
        }
        if call.actor.unconfirmed && !is_read {
            call.actor.unconfirmed =
                !effect::is_predicted(operation, &call)? && self.credentials.is_unconfirmed(&call.actor).await?;
        }
        self.check_unsigned(operation, &call).await?;
        self.check_confirmed(operation, &call).await?;
        if let Some(node) = self.elsewhere(&call, via).await? {
            return self.forward(node, call, via).await;
        }
        self.catch_up(call.request.method(), call.request.headers()).await?;
        if is_read {
            self.check_in_force(&call.actor, is_read).await?;
        }
        if !is_read && operation.path != PAUSE_PATH {
            // Also applies to dry runs, and to data stored outside the catalog.
            let in_place = self.publisher.ledger().check_in_place();
            self.note_push_refused(operation, &call, in_place).await?;
        }
        self.log_unsigned(operation, &call).await?;
        let Call { actor, path, request } = call;
        let request = request.map(|body| body.sent_by(&self.credentials, &actor));
        run(self, Call { actor, path, request }).await
    }

    /// Records the refusal of a push before its body is read.
    ///
    /// # Errors
    /// The error of `in_place`.
    async fn note_push_refused(
        &self,
        operation: &Operation,
        call: &Call,
        in_place: Result<(), Error>,
    ) -> Result<(), Error> {
        if in_place.is_ok() || !operation.begins_push() || effect::is_predicted(operation, call)? {
            return in_place;
        }
        let (app, environment) = call.path.place()?;
        self.publisher.note_refused(&call.actor, (&app, &environment), None, in_place).await
    }

    /// Refuses a deleted app or environment. The check reveals no app to an unauthorized caller.
    async fn check_deletion(&self, rule: AfterDeletion, actor: &Actor, path: &PathParameters) -> Result<(), Error> {
        let is_known = |app: &_| actor.app.as_ref().is_none_or(|own| own == app);
        let Some(app) = path.app().ok().filter(is_known).filter(|_| rule != AfterDeletion::Own) else { return Ok(()) };
        let environment = path.environment().ok().filter(|_| rule == AfterDeletion::Refused);
        // A token learns nothing of foreign environments, not even their deletion; the operation refuses the token.
        let environment = environment.filter(|name| actor.is_of(name));
        self.publisher.ledger().check_there(&app, environment.as_ref()).await
    }

    /// Answers a request without a valid credential. A browser that opens the console gets the login page if its cookie
    /// is missing, expired, or ignored after a link from a foreign site; at a hostname without logins, the page states
    /// the reason.
    fn to_stranger(&self, error: Error, request: &Request<RequestBody>) -> Answer {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let may_log_in = matches!(error.0.code, Code::BadToken | Code::CrossSite | Code::Unauthenticated);
        if !may_log_in || !console::is_its(method, uri) {
            return Err(error);
        }
        let is_page = login_page::is_wanted(method, uri, headers);
        match self.check_host(RequestHost::of(headers, uri).as_ref()) {
            Ok(()) if is_page => Ok(login_page::page()),
            Err(refused) if is_page => login_page::refused(refused, StatusCode::UNAUTHORIZED, request),
            Err(Error(refused)) if error.0.code == Code::Unauthenticated => {
                let problem = Problem::new(Code::Unauthenticated, refused.detail);
                Err(refused.hint.into_iter().fold(problem, Problem::hint).into())
            }
            _ => Err(error),
        }
    }

    async fn actor(&self, request: &Request<RequestBody>, via: Via) -> Result<Actor, Error> {
        if via.is_local() {
            return Ok(Actor::local());
        }
        let headers = request.headers();
        let authorization = headers.get(AUTHORIZATION);
        if authorization.is_none()
            && let Some(actor) = self.session_actor(request.method(), headers, request.uri(), via).await?
        {
            return Ok(actor);
        }
        let token = authorization.and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            // Scheme names are case-insensitive (RFC 9110 §11.1).
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) => self.recognised(token, via).await,
            None => Err(Problem::new(Code::Unauthenticated, "This needs a token.")
                .hint("send `Authorization: Bearer TOKEN`; `devanture-edge token create` makes one")
                .into()),
        }
    }
}

impl Admin {
    async fn recognised(&self, token: &str, via: Via) -> Result<Actor, Error> {
        let recognised = self.credentials.recognise(token, via.address()).await;
        match recognised {
            // Another node may have just created the token.
            Err(error) if error.0.code == Code::BadToken && self.is_shared() && Credentials::may_be_token(token) => {
                self.catch_up_for_stranger().await;
                self.credentials.recognise(token, via.address()).await
            }
            recognised => recognised,
        }
    }
}

/// Returns the refusal of an unsupported method (RFC 9110 §15.5.6).
fn method_not_allowed(allowed: &[&Method]) -> Response<Body> {
    let allowed = operations::allow(allowed);
    let problem = Problem::new(Code::MethodNotAllowed, "This address does not take that method.");
    let mut response = answer::problem(&problem.hint(format!("use {allowed}")));
    response.headers_mut().extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (ALLOW, allowed)));
    response
}
