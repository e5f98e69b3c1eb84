//! Per-request data for logs and metrics: the backend's part and the fault.

use std::cell::OnceCell;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::body;
use crate::proxy::{Ids, Member, Pool};
use crate::version::{Entered, Traffic};

/// Status of a client that went away before the response, for logs and metrics alone: the status is not registered, and
/// a client that still reads gets a 400.
const CLIENT_GONE: u16 = 499;
/// Fault of a client that went away, before or within the response.
pub(super) const CLIENT_IS_GONE: &str = "client-gone";
/// Fault of a client that read no bytes of the response while memory was short.
pub(super) const CLIENT_STALLED: &str = "client-stalled";
/// Fault of a request for which a drain had no time left.
pub(super) const DRAINED: &str = "drained";
/// Fault of a request that cannot be forwarded unchanged.
const BAD_REQUEST: &str = "bad-request";
/// Fault of a request with a body that stalled too long.
const CLIENT_SLOW: &str = "client-slow";
/// Fault of a request with too long a body.
const TOO_LARGE: &str = "too-large";
/// Fault of a request beyond its app's limit of simultaneous requests.
pub(super) const APP_BUSY: &str = "app-busy";
/// Fault of a stored file that could not be read to the end.
const STORE: &str = "store";

/// Faults before any byte was sent to a backend.
const UNSENT: [&str; 3] = ["busy", "connect", "no-member"];

/// Every fault, with its status if the response has not begun, and the condition for logging: the `error` of an access
/// log line, the `reason` of a metric, the `code` of a problem.
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

/// Status in logs and metrics for a client that went away before the response.
pub(super) fn client_gone() -> StatusCode {
    StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Returns true if the fault is the client's and leaves the rest of the body unread or unreadable.
pub(super) fn leaves_body(fault: &str) -> bool {
    matches!(fault, BAD_REQUEST | CLIENT_IS_GONE | CLIENT_SLOW | TOO_LARGE)
}

/// Data of one request for logs and metrics, recorded as known.
#[derive(Default)]
pub(super) struct RequestOutcome(
    /// Boxed, since most requests have no such data, and each is moved several times with its response.
    OnceCell<Box<OutcomeDetails>>,
);

#[derive(Default)]
struct OutcomeDetails {
    error: OnceCell<&'static str>,
    /// Permit among the running requests of the app, if limited.
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
    /// Records that the request is on its way to a backend.
    pub(super) fn begin(&self, ids: &Ids, pool: &Arc<Pool>) {
        let (pool, request_id) = (Arc::clone(pool), ids.request_id.clone());
        self.aside().backend.set(ToBackend { pool, member: OnceCell::new(), request_id }).ok();
    }

    fn aside(&self) -> &OutcomeDetails {
        self.0.get_or_init(Box::default)
    }

    fn backend(&self) -> Option<&ToBackend> {
        self.0.get()?.backend.get()
    }

    /// Holds the permit among the app's running requests for the lifetime of the record.
    pub(super) fn enter(&self, entered: Entered) {
        self.aside().entered.set(entered).ok();
    }

    /// Traffic of the app, if limited.
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

    /// Records a fault; only the first is logged, since later faults follow from the first.
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

    /// Returns true if the request failed before any backend received the request.
    pub(super) fn is_unsent(&self) -> bool {
        self.error().is_some_and(|error| UNSENT.contains(&error))
    }

    /// Forgets the backend and its fault: the request is decided again.
    pub(super) fn forget_backend(&mut self) {
        if let Some(aside) = self.0.get_mut() {
            (aside.error, aside.backend) = (OnceCell::new(), OnceCell::new());
        }
    }

    pub(super) fn request_id(&self) -> Option<String> {
        self.backend().and_then(|backend| backend.request_id.to_str().ok()).map(str::to_owned)
    }

    /// The address that answered; without an answer, the target of the request.
    pub(super) fn upstream(&self) -> Option<String> {
        let backend = self.backend()?;
        Some(match backend.member.get() {
            Some(member) => member.endpoint.to_string(),
            None => backend.pool.key.name.clone(),
        })
    }
}
