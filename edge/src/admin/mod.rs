//! The HTTP API: a thin skin over `publish`, with health and metrics beside it. No logic of its own.
//!
//! | address | method | scope |
//! |---|---|---|
//! | `/health/live`, `/health/ready`, `/v1/openapi.yaml` | GET | none |
//! | `/metrics` | GET | read, every app |
//! | `/v1/login`, `/v1/refresh`, `/v1/logout` | POST | none |
//! | `/v1/tokens` | GET, POST | admin |
//! | `/v1/tokens/{id}` | DELETE | admin, or the token itself |
//! | `/v1/accounts` | GET, POST | admin, every app |
//! | `/v1/accounts/{account}` | DELETE | admin, every app |
//! | `/v1/accounts/{account}/password` | PUT | admin, every app |
//! | `/v1/audit` | GET | admin |
//! | `/v1/gc` | POST | admin, every app |
//! | `/v1/apps/{app}` | DELETE | admin, every environment |
//! | `/v1/apps/{app}/deleted` | GET | read |
//! | `/v1/apps/{app}/undelete` | POST | admin, every environment; push, for a version |
//! | `/v1/apps/{app}/environments/{env}` | GET | read |
//! | `/v1/apps/{app}/environments/{env}` | DELETE | admin, every environment |
//! | `/v1/apps/{app}/environments/{env}/history` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/logs` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/deploys` (a manifest, or a bundle in one request) | POST | push |
//! | `/v1/apps/{app}/blobs/{digest}?deploy={deploy}` | PUT | push |
//! | `/v1/apps/{app}/deploys/{deploy}` | GET | read |
//! | `/v1/apps/{app}/deploys/{deploy}/finish` | POST | push |
//! | `/v1/apps/{app}/environments/{env}/switch`, `…/rollback` | POST | push |
//! | `/v1/apps/{app}/environments/{env}/promote` | POST | promote |
//! | `/v1/apps/{app}/environments/{env}/lock` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/lock` | PUT, DELETE | push |
//! | `/v1/apps/{app}/environments/{env}/hostnames` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/hostnames/{host}` | PUT, DELETE | push |
//! | `/v1/apps/{app}/environments/{env}/upstreams` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/upstreams/{name}/members/{address}` | PUT, DELETE | push |
//! | `/v1/apps/{app}/environments/{env}/instances` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/instances` | PATCH | push |
//! | `/v1/apps/{app}/environments/{env}/instances/restart` | POST | push |
//! | `/v1/apps/{app}/environments/{env}/pause`, `…/resume` | POST | push |
//! | `/v1/apps/{app}/environments/{env}/settings` | GET | read |
//! | `/v1/apps/{app}/environments/{env}/settings` | PATCH | promote |
//! | `/v1/apps/{app}/versions/{id}` | DELETE | push, every environment |
//! | `/v1/apps/{app}/withdrawn` | GET | read, every environment |
//! | `/v1/apps/{app}/withdrawn` | POST, DELETE | push, every environment |
//! | `/v1/apps/{app}/aliases` | GET | read |
//! | `/v1/apps/{app}/aliases/{name}` | GET | read |
//! | `/v1/apps/{app}/aliases/{name}` | PUT, DELETE | push |
//! | `/v1/apps/{app}/diff?from={from}&to={to}` | GET | read |

mod answer;
mod body;
mod bundle;
mod content_digest;
mod hostnames;
mod instances;
mod keeping;
mod logs;
mod precondition;
mod pushing;
mod reading;
mod route;
mod settings;
mod team;
mod upkeep;
mod upstreams;
mod who;

pub use answer::Body;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devanture_config::problem::{Code, Problem};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::access::Credentials;
use crate::blobs::FreeSpace;
use crate::ledger::{Actor, Error};
use crate::live::DamagedPlace;
use crate::publish::Publisher;
use crate::telemetry::Exposition;
use body::{BodyTimes, RequestBody};
use content_digest::ContentDigest;
use route::Route;

/// The description of the API, served as it stands here.
const OPENAPI: &str = include_str!("openapi.yaml");

/// Environments with a damaged version that readiness names.
const DAMAGED_PLACES_MAX: usize = 100;

/// The prefix of a line of readiness about lost secrets.
pub(crate) const SECRETS_LINE: &str = "secrets: ";

/// A line of readiness about a damaged version.
fn damage_line(damaged: &DamagedPlace) -> String {
    let DamagedPlace { app, environment, version, files, error } = damaged;
    let what = match (error, files.first()) {
        (Some(_), Some(rules)) => format!("cannot be loaded: its rule file {rules} is damaged or missing"),
        (Some(_), None) => "cannot be loaded".to_owned(),
        (None, _) => format!("lacks {} of its files, which are damaged or missing", files.len()),
    };
    match version {
        Some(version) => format!("damaged: version {} of {app} in {environment} {what}\n", version.short()),
        None => format!("damaged: what is live of {app} in {environment} {what}\n"),
    }
}

/// Whether the edge can serve, and whether it is about to end.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    /// The disk of the data folder; `None` where nobody looks at it.
    disk: Option<Arc<FreeSpace>>,
}

impl Health {
    /// The API of an edge with its data on a disk.
    #[must_use]
    pub fn on(disk: Arc<FreeSpace>) -> Self {
        Self { ready: AtomicBool::default(), disk: Some(disk) }
    }

    /// Says whether new requests should come here.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn is_short_of_disk(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.is_short())
    }
}

/// The API.
pub struct Admin {
    publisher: Arc<Publisher>,
    credentials: Arc<Credentials>,
    metrics: Exposition,
    health: Arc<Health>,
}

/// The listener or socket of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// By the socket in the data folder: who can open it needs no token.
    Local,
    /// By the network, from this address: nothing without a token.
    Network(IpAddr),
}

impl Via {
    /// The client's address, where it has one.
    fn address(self) -> Option<IpAddr> {
        match self {
            Self::Local => None,
            Self::Network(address) => Some(address),
        }
    }
}

impl Admin {
    /// Puts the API together.
    #[must_use]
    pub fn new(
        publisher: Arc<Publisher>,
        credentials: Arc<Credentials>,
        metrics: Exposition,
        health: Arc<Health>,
    ) -> Self {
        Self { publisher, credentials, metrics, health }
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request<Incoming>, via: Via) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let times = BodyTimes::of(self.publisher.limits());
        let digest = ContentDigest::read(request.headers());
        let request = request.map(|incoming| RequestBody::new(incoming, times, digest));
        let response = self.answer(request, via).await.unwrap_or_else(|error| answer::problem(&error.0));
        if is_head { answer::without_content(response) } else { response }
    }

    async fn answer(&self, request: Request<RequestBody>, via: Via) -> Result<Response<Body>, Error> {
        let path = request.uri().path();
        match path {
            "/health/live" => return open(request.method(), || answer::text(StatusCode::OK, "live\n")),
            "/health/ready" => return open(request.method(), || self.readiness()),
            "/v1/openapi.yaml" => {
                return open(request.method(), || answer::typed(StatusCode::OK, "application/yaml", OPENAPI.into()));
            }
            _ => {}
        }
        let route = Route::parse(request.method(), path);
        if let Some(door) = route.as_ref().ok().and_then(Route::door) {
            return self.enter(door, request, via.address()).await;
        }
        let actor = self.actor(request.headers().get(AUTHORIZATION), via).await?;
        // Only now: without a token even the shape of the API stays hidden.
        let route = route?;
        body::only_parameters(request.uri(), route.parameters())?;
        self.check_there(&actor, path, &route).await?;
        match route {
            Route::Metrics => self.all_metrics(&actor),
            Route::Accounts => self.accounts(&actor).await,
            Route::Audit => self.audit_log(&actor, &request).await,
            Route::CreateAccount => self.create_account(&actor, request).await,
            Route::CreateToken => self.create_token(&actor, request).await,
            Route::DeleteAccount { account } => self.delete_account(&actor, &account).await,
            Route::RevokeToken { id } => self.revoke_token(&actor, &id).await,
            Route::SetPassword { account } => self.set_password(&actor, &account, request).await,
            Route::Tokens => self.tokens(&actor, &request).await,
            // Answered above, where nobody has to have a token.
            Route::Login | Route::Logout | Route::Refresh => Err(route::nothing()),
            Route::Status { app, environment } => self.status(&actor, &app, &environment, &request).await,
            Route::History { app, environment } => self.history(&actor, &app, &environment, &request).await,
            Route::Logs { app, environment } => self.logs(&actor, &app, &environment, &request).await,
            Route::Begin { app, environment } => self.begin(&actor, &app, &environment, request).await,
            Route::Blob { app, digest } => self.blob(&actor, &app, digest, request).await,
            Route::Deploy { app, deploy } => self.deploy(&actor, &app, &deploy).await,
            Route::Finish { app, deploy } => self.finish(&actor, &app, &deploy, &request).await,
            Route::Switch { app, environment } => self.switch(&actor, &app, &environment, request).await,
            Route::Rollback { app, environment } => self.rollback(&actor, &app, &environment, request).await,
            Route::Promote { app, environment } => self.promote(&actor, &app, &environment, request).await,
            Route::AddHostname { app, environment, host } => {
                self.add_hostname(&actor, &app, &environment, &host, request).await
            }
            Route::Hostnames { app, environment } => self.hostnames(&actor, &app, &environment, &request).await,
            Route::RemoveHostname { app, environment, host } => {
                self.remove_hostname(&actor, &app, &environment, &host, &request).await
            }
            Route::RemoveMember(member) => self.remove_member(&actor, &member, &request).await,
            Route::SetMember(member) => self.set_member(&actor, &member, request).await,
            Route::Upstreams { app, environment } => self.upstreams(&actor, &app, &environment).await,
            Route::Instances { app, environment } => self.instances(&actor, &app, &environment).await,
            Route::Scale { app, environment } => self.scale(&actor, &app, &environment, request).await,
            Route::Restart { app, environment } => self.restart(&actor, &app, &environment, request).await,
            Route::Settings { app, environment } => self.settings(&actor, &app, &environment).await,
            Route::ChangeSettings { app, environment } => {
                self.change_settings(&actor, &app, &environment, request).await
            }
            Route::Pause { app, environment } => self.pause(&actor, &app, &environment, request).await,
            Route::Resume { app, environment } => self.resume(&actor, &app, &environment).await,
            Route::Collect => self.collect(&actor, &request).await,
            Route::DeleteApp { app } => self.delete_app(&actor, &app, &request).await,
            Route::Deleted { app } => self.deleted(&actor, &app).await,
            Route::DeleteEnvironment { app, environment } => {
                self.delete_environment(&actor, &app, &environment, &request).await
            }
            Route::Undelete { app } => self.undelete(&actor, &app, request).await,
            Route::DeleteVersion { app, version } => self.delete_version(&actor, &app, &version, &request).await,
            Route::Restore { app } => self.restore(&actor, &app, &request).await,
            Route::Withdraw { app } => self.withdraw(&actor, &app, request).await,
            Route::Withdrawn { app } => self.withdrawn(&actor, &app, &request).await,
            Route::Aliases { app } => self.aliases(&actor, &app, &request).await,
            Route::Alias { app, name } => self.alias(&actor, &app, &name, &request).await,
            Route::SetAlias { app, name } => self.set_alias(&actor, &app, &name, request).await,
            Route::DeleteAlias { app, name } => self.delete_alias(&actor, &app, &name, &request).await,
            Route::Diff { app } => self.diff(&actor, &app, &request).await,
            Route::LockOf { app, environment } => self.lock_of(&actor, &app, &environment, &request).await,
            Route::Lock { app, environment } => self.lock(&actor, &app, &environment, request).await,
            Route::Unlock { app, environment } => self.unlock(&actor, &app, &environment, &request).await,
        }
    }

    /// The metrics of the whole edge, which only a token for the whole edge may read.
    fn all_metrics(&self, actor: &Actor) -> Result<Response<Body>, Error> {
        if actor.app.is_some() || actor.environment.is_some() {
            let detail = "The metrics cover everything; this token is for one app or environment.";
            return Err(Problem::new(Code::Forbidden, detail).into());
        }
        let publisher = &self.publisher;
        let of_publisher = [
            publisher.memory_metrics(),
            publisher.environments().upstream_metrics(),
            publisher.environments().instance_metrics(),
            publisher.environments().secret_metrics(),
        ];
        let text = self.metrics.render() + &of_publisher.concat();
        Ok(answer::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into()))
    }

    fn readiness(&self) -> Response<Body> {
        if !self.health.is_ready() {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n");
        }
        // Another edge could not serve more than this one does.
        let mut text = match self.health.is_short_of_disk() {
            true => "ready, but the disk is almost full: new files are refused\n".to_owned(),
            false => "ready\n".to_owned(),
        };
        text.extend(self.publisher.damaged().iter().take(DAMAGED_PLACES_MAX).map(damage_line));
        let lost = self.publisher.environments().lost_secrets();
        text.extend(lost.iter().take(DAMAGED_PLACES_MAX).map(|lost| format!("{SECRETS_LINE}{}\n", lost.sentence())));
        answer::typed(StatusCode::OK, "text/plain; charset=utf-8", text.into())
    }

    async fn actor(&self, authorization: Option<&HeaderValue>, via: Via) -> Result<Actor, Error> {
        if via == Via::Local {
            return Ok(Actor::local());
        }
        let token = authorization.and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            // RFC 9110 §11.1: the scheme's name has no case.
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) => self.credentials.recognise(token, via.address()).await,
            None => Err(Problem::new(Code::Unauthenticated, "This needs a token.")
                .hint("send `Authorization: Bearer TOKEN`; `devanture-edge token create` makes one")
                .into()),
        }
    }
}

/// An address that needs no token and takes reading alone.
fn open(method: &Method, answer: impl FnOnce() -> Response<Body>) -> Result<Response<Body>, Error> {
    if method == Method::GET || method == Method::HEAD {
        Ok(answer())
    } else {
        Err(route::method_not_allowed("GET, HEAD"))
    }
}
