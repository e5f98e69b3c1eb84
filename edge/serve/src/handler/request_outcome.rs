//! Per-request data for logs and metrics: what a backend's part in it was, and what went wrong.

use std::cell::OnceCell;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::body;
use crate::proxy::{Ids, Member, Pool};
use crate::version::{Entered, Traffic};

/// The status of a client that went away before its answer. It is for logs and metrics alone: no such status is
/// registered, and a client that still reads gets a 400.
const CLIENT_GONE: u16 = 499;
/// The word for such a client, also for one that went away within its answer.
pub(super) const CLIENT_IS_GONE: &str = "client-gone";
/// The word for one that took nothing of its answer, while its memory was needed.
pub(super) const CLIENT_STALLED: &str = "client-stalled";
/// The word for a request that a drain had no time left for.
pub(super) const DRAINED: &str = "drained";
/// The word for a request that cannot be forwarded as it is.
const BAD_REQUEST: &str = "bad-request";
/// The word for a request whose body rested too long.
const CLIENT_SLOW: &str = "client-slow";
/// The word for a request whose body is too long.
const TOO_LARGE: &str = "too-large";
/// The word for a request of an app that has as many under way as it may.
pub(super) const APP_BUSY: &str = "app-busy";
/// The word for a stored file that could not be read to its end.
const STORE: &str = "store";

/// The words for faults before anything was sent to a backend.
const UNSENT: [&str; 3] = ["busy", "connect", "no-member"];

/// Every word for a fault, with the status that goes with it where the answer has not begun, and when it is logged: the
/// `error` of a line of the access log, the `reason` of a metric, the `code` of a problem.
pub const FAULTS: [(&str, u16, &str); 25] = [
    (APP_BUSY, 503, "The app has as many requests under way as `requests_per_app_max` lets it."),
    ("bad-answer", 502, "The backend sent no HTTP answer, or none that can be passed on."),
    (BAD_REQUEST, 400, "The request cannot be forwarded as it is, or its body is malformed."),
    ("busy", 503, "A limit is reached, of requests to this backend or of the system."),
    (
        CLIENT_IS_GONE,
        CLIENT_GONE,
        "The client went away, or broke off its request; the status is for logs, and never sent.",
    ),
    (CLIENT_SLOW, 408, "The client rested too long within its request's body."),
    (
        CLIENT_STALLED,
        CLIENT_GONE,
        "The client took nothing of its answer while memory was scarce (`response_memory_bytes_max`); the answer broke off.",
    ),
    ("closed", 502, "The backend closed the connection before its answer, or within it."),
    ("connect", 502, "The backend's name does not resolve, or no connection to it can be made."),
    (DRAINED, CLIENT_GONE, "The edge ended before the answer was complete: the time of its drain was over."),
    ("loop", 508, "The request came back to an edge again and again."),
    ("no-member", 503, "The upstream has no backend, or none that is well."),
    ("not-implemented", 501, "A method, or a way to transfer a body, that is not forwarded."),
    ("over-memory", 503, "A preview does not fit into `app_memory_bytes_max` of its app; said in problems alone."),
    ("paused", 503, "The environment is paused; said in problems alone."),
    ("previews-busy", 503, "Too many requests wait for previews of the app to be loaded; said in problems alone."),
    ("protected", 401, "The visitor may not see what is protected; said in problems alone."),
    ("refused-address", 502, "The backend's address is one that the route may not reach."),
    (STORE, 200, "A stored file could not be read to its end; the answer broke off."),
    ("timeout-connect", 504, "The backend did not accept a connection in time."),
    ("timeout-first-byte", 504, "The backend did not begin its answer in time."),
    ("timeout-idle", 504, "The backend rested too long within its answer, which broke off."),
    ("timeout-total", 504, "The exchange took longer than the route's `total_timeout_ms` in all."),
    ("tls", 502, "No TLS connection to the backend comes about: its certificate is not trusted."),
    (TOO_LARGE, 413, "The request's body is longer than `proxy_body_bytes_max`."),
];

/// The status that logs and metrics have for a client that went away before its answer.
pub(super) fn client_gone() -> StatusCode {
    StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Whether a fault is one of the client's that leaves the rest of its body unread or unreadable.
pub(super) fn leaves_body(fault: &str) -> bool {
    matches!(fault, BAD_REQUEST | CLIENT_IS_GONE | CLIENT_SLOW | TOO_LARGE)
}

/// Data of one request for logs and metrics, noted as it becomes known.
#[derive(Default)]
pub(super) struct RequestOutcome(
    /// Boxed, since most requests have none of it, and are passed on from hand to hand with their
    /// answers.
    OnceCell<Box<Aside>>,
);

#[derive(Default)]
struct Aside {
    error: OnceCell<&'static str>,
    /// Its place among the requests of its app, where these are limited.
    entered: OnceCell<Entered>,
    backend: OnceCell<ToBackend>,
}

/// Data of a request to a backend for logs and metrics.
struct ToBackend {
    pool: Arc<Pool>,
    member: OnceCell<Arc<Member>>,
    request_id: HeaderValue,
}

impl RequestOutcome {
    /// A request begins its way to a backend.
    pub(super) fn begin(&self, ids: &Ids, pool: &Arc<Pool>) {
        let (pool, request_id) = (Arc::clone(pool), ids.request_id.clone());
        self.aside().backend.set(ToBackend { pool, member: OnceCell::new(), request_id }).ok();
    }

    fn aside(&self) -> &Aside {
        self.0.get_or_init(Box::default)
    }

    fn backend(&self) -> Option<&ToBackend> {
        self.0.get()?.backend.get()
    }

    /// The request is one of those of its app that are under way, for as long as this lives.
    pub(super) fn enter(&self, entered: Entered) {
        self.aside().entered.set(entered).ok();
    }

    /// The visitors of its app, where they are limited.
    pub(super) fn traffic(&self) -> Option<&Arc<Traffic>> {
        Some(self.0.get()?.entered.get()?.traffic())
    }

    pub(super) fn is_proxied(&self) -> bool {
        self.backend().is_some()
    }

    /// The backend that answered.
    pub(super) fn answered(&self, member: Option<&Arc<Member>>) {
        if let (Some(member), Some(backend)) = (member, self.backend()) {
            backend.member.set(Arc::clone(member)).ok();
        }
    }

    /// The first fault is the one that is logged: others follow from it.
    pub(super) fn fail(&self, error: &'static str) {
        self.aside().error.set(error).ok();
    }

    pub(super) fn break_off(&self, error: &body::Error) {
        self.fail(match error {
            body::Error::Backend(error) => error.reason(),
            body::Error::Store(_) => STORE,
        });
    }

    pub(super) fn error(&self) -> Option<&'static str> {
        self.0.get()?.error.get().copied()
    }

    /// Whether the request failed before any backend received it.
    pub(super) fn is_unsent(&self) -> bool {
        self.error().is_some_and(|error| UNSENT.contains(&error))
    }

    /// Forgets the backend, and what went wrong with it: the request is decided again.
    pub(super) fn forget_backend(&mut self) {
        if let Some(aside) = self.0.get_mut() {
            (aside.error, aside.backend) = (OnceCell::new(), OnceCell::new());
        }
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.backend().and_then(|backend| backend.request_id.to_str().ok()).map(str::to_owned)
    }

    /// The very address that answered; where none did, what the request was for.
    pub(super) fn upstream(&self) -> Option<String> {
        let backend = self.backend()?;
        Some(match backend.member.get() {
            Some(member) => member.endpoint.to_string(),
            None => backend.pool.key.name.clone(),
        })
    }
}
