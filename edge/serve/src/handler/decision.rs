//! The decision about a request: a file, a backend, a short response or a refusal, each with the data needed to send
//! the response.

use std::borrow::Cow;
use std::sync::Arc;

use devanture_config::api::Pause;
use devanture_config::site_toml::HostRule;
use devanture_site::cache::{self, Kept};
use devanture_site::decide::{Backend, Request};
use devanture_site::method;
use devanture_site::range::Span;
use http::header::{ALLOW, CACHE_CONTROL, LOCATION, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, StatusCode};
use percent_encoding::{CONTROLS, utf8_percent_encode};

use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::visitor::{Visitor, without_secret_query};
use crate::live::{Current, LoadTarget};
use crate::version::{Traffic, Version};
use devanture_http::Fields;

/// Request fields that the decision reads.
pub struct Head<'r> {
    /// The method.
    pub method: &'r HttpMethod,
    /// The path as sent.
    pub path: &'r str,
    /// The query as sent.
    pub query: Option<&'r str>,
    /// The host, in lower case, without a port.
    pub host: &'r str,
    /// The fields.
    pub fields: Fields<'r>,
    /// Clock, in seconds since 1970 UTC; called only if the decision reads a date.
    pub now_s: fn() -> u64,
    /// True if a pin may select an earlier version for the visitor, if the environment has pins.
    pub heeds_pins: bool,
    /// Longest accepted path, in bytes.
    pub target_bytes_max: usize,
}

impl<'r> Request<'r> for Head<'r> {
    #[inline]
    fn method(&self) -> &HttpMethod {
        self.method
    }

    #[inline]
    fn path(&self) -> &'r str {
        self.path
    }

    #[inline]
    fn query(&self) -> Option<&'r str> {
        self.query
    }

    #[inline]
    fn host(&self) -> Option<&str> {
        Some(self.host)
    }

    #[inline]
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        self.fields.joined(name)
    }

    #[inline]
    fn path_bytes_max(&self) -> usize {
        self.target_bytes_max
    }
}

/// The decision about a request.
pub enum Decision {
    /// A file of a version.
    File(FileAnswer),
    /// A version or setting that must be loaded before the request can be decided.
    Load(LoadTarget),
    /// A backend.
    Proxy {
        /// The live version.
        current: Arc<Current>,
        /// The backend.
        to: ProxyTo,
        /// Changes of the site's rules to the head of the response.
        ruled: HeaderRules,
        /// True if the host is a custom hostname.
        custom_host: bool,
    },
    /// Protected content, for an admitted visitor.
    Protected(Box<Self>),
    /// An error of the edge.
    Refuse(Refusal),
    /// A report of a browser, to be read.
    Report(Box<ReportMessage>),
    /// A head with a short body.
    Small(Box<SmallAnswer>),
    /// A visitor to look up before the request can be decided.
    Visitor(Box<Visitor>),
}

/// A report of a browser, to be read.
pub struct ReportMessage {
    pub(super) current: Arc<Current>,
    pub(super) custom_host: bool,
}

impl Decision {
    /// The decision without its protection.
    #[inline]
    pub(super) const fn inner(&self) -> &Self {
        match self {
            Self::Protected(inner) => inner,
            decision => decision,
        }
    }

    /// The decision without its protection, and whether the decision was protected.
    pub(super) fn into_inner(self) -> (Self, bool) {
        match self {
            Self::Protected(inner) => (*inner, true),
            decision => (decision, false),
        }
    }

    /// The decision, protected if `is_protected`.
    pub(super) fn protected_if(self, is_protected: bool) -> Self {
        if is_protected { Self::Protected(Box::new(self)) } else { self }
    }

    /// Returns true if the host is a custom hostname.
    pub(super) const fn is_custom_host(&self) -> bool {
        match self.inner() {
            Self::File(answer) => answer.custom_host,
            Self::Proxy { custom_host, .. } => *custom_host,
            Self::Refuse(refusal) => refusal.custom_host,
            Self::Small(answer) => answer.custom_host,
            Self::Report(message) => message.custom_host,
            Self::Load(_) | Self::Protected(_) | Self::Visitor(_) => false,
        }
    }

    /// Returns [`Decision::is_custom_host`], or `None` if no app has the host.
    #[inline]
    pub(super) fn host_is_custom(&self) -> Option<bool> {
        self.current().map(|_| self.is_custom_host())
    }

    /// The live version of the decision.
    pub(super) fn current(&self) -> Option<&Arc<Current>> {
        match self.inner() {
            Self::File(FileAnswer { current, .. }) | Self::Proxy { current, .. } => Some(current),
            Self::Refuse(refusal) => refusal.current.as_ref(),
            Self::Small(answer) => answer.current.as_ref(),
            Self::Report(message) => Some(&message.current),
            Self::Load(_) | Self::Protected(_) | Self::Visitor(_) => None,
        }
    }

    /// Traffic of the decision's app, if limited.
    #[inline]
    pub(super) fn traffic(&self) -> Option<&Arc<Traffic>> {
        Some(&self.current()?.version.traffic).filter(|traffic| traffic.is_limited())
    }

    /// Returns true if the site's rules change the head of the response.
    pub(super) const fn is_ruled(&self) -> bool {
        match self.inner() {
            Self::File(answer) => answer.is_chosen || !answer.ruled.is_empty(),
            Self::Proxy { ruled, .. } => !ruled.is_empty(),
            Self::Refuse(refusal) => !refusal.ruled.is_empty(),
            Self::Small(answer) => !answer.ruled.is_empty(),
            Self::Load(_) | Self::Protected(_) | Self::Report(_) | Self::Visitor(_) => false,
        }
    }
}

/// The backend of a request.
pub struct ProxyTo {
    /// The backend's number.
    pub number: Backend,
    /// The target, if a rule changes the target of the request.
    pub path_and_query: Option<String>,
    /// The `Host` of the rewrite, if set.
    pub host: Option<HostRule>,
}

/// A file, by reference.
pub struct FileAnswer {
    /// The live version, held to the last byte (law 1); source of `Last-Modified`.
    pub current: Arc<Current>,
    /// The version that has the file, if not the live version (law 10).
    pub keeper: Option<Arc<Version>>,
    /// The file's number.
    pub file: u32,
    /// The representation's number within the file.
    pub representation: usize,
    /// The status.
    pub status: StatusCode,
    /// The bytes.
    pub part: Part,
    /// Cache class of the file, which decides the lifetime in caches.
    pub kept: Kept,
    /// Changes of the site's rules to the head.
    pub ruled: HeaderRules,
    /// True if a cookie selected the version and no rule changes the head.
    pub is_chosen: bool,
    /// True if the host is a custom hostname.
    pub custom_host: bool,
}

impl FileAnswer {
    /// The version that has the file.
    #[must_use]
    pub fn version(&self) -> &Arc<Version> {
        self.keeper.as_ref().unwrap_or(&self.current.version)
    }
}

/// The bytes of a file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// No bytes: a 304.
    None,
    /// One span.
    One(Span),
    /// Several spans, as `multipart/byteranges`.
    Several(Vec<Span>),
    /// The whole file.
    Whole,
}

/// An error of the edge, with its version and reason.
pub struct Refusal {
    /// The reason.
    pub refused: Refused,
    /// The live version, if the request reached a version.
    pub current: Option<Arc<Current>>,
    /// Changes of the site's rules to the head.
    pub ruled: HeaderRules,
    /// The pause of the environment, if the pause is the reason.
    pub paused: Option<Arc<Pause>>,
    /// True if the host is a custom hostname.
    pub custom_host: bool,
}

impl From<Refused> for Refusal {
    /// A refusal without a version: the request reached no version.
    fn from(refused: Refused) -> Self {
        Self { refused, current: None, ruled: HeaderRules::default(), paused: None, custom_host: false }
    }
}

/// Facts about a status page before the state of its backends is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPage {
    /// True if the reader is a program.
    pub(super) is_json: bool,
    /// True if the environment is paused.
    pub(super) is_paused: bool,
}

/// A head with a short body, made for the request.
pub struct SmallAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: bytes::Bytes,
    /// The live version, if the response is about a version.
    pub current: Option<Arc<Current>>,
    /// Changes of the site's rules to the head.
    pub ruled: HeaderRules,
    /// True if the host is a custom hostname.
    pub custom_host: bool,
    /// A status page with a body written at sending, from the state of the backends.
    pub status_page: Option<StatusPage>,
}

impl From<SmallAnswer> for Decision {
    fn from(answer: SmallAnswer) -> Self {
        Self::Small(Box::new(answer))
    }
}

impl SmallAnswer {
    /// A redirect. The response to an address with a visitor's secret must not be cached.
    #[must_use]
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        let mut headers = HeaderMap::new();
        let is_secret = without_secret_query(location).len() < location.len();
        let cache_control = if is_secret { cache::NEVER } else { cache::REVALIDATE };
        if is_secret {
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        // A `Location` is ASCII (RFC 3986 §2); other bytes of a query are sent percent-encoded.
        let location = utf8_percent_encode(location, CONTROLS).to_string();
        let location = HeaderValue::try_from(location).unwrap_or_else(|_| HeaderValue::from_static("/"));
        headers.insert(LOCATION, location);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
        Self {
            status,
            headers,
            body: bytes::Bytes::new(),
            current: None,
            ruled: HeaderRules::default(),
            custom_host: false,
            status_page: None,
        }
    }
}

/// A refusal by a live version.
pub(super) fn refuse(current: &Arc<Current>, custom_host: bool, refused: Refused) -> Decision {
    Decision::Refuse(Refusal { current: Some(Arc::clone(current)), custom_host, ..refused.into() })
}

/// The response to OPTIONS, with fields changed by `ruled`.
pub(super) fn options(current: &Arc<Current>, custom_host: bool, ruled: HeaderRules) -> Decision {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ALLOW, HeaderValue::from_static(method::ALLOW));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    let (status, body) = (StatusCode::NO_CONTENT, bytes::Bytes::new());
    let current = Some(Arc::clone(current));
    SmallAnswer { status, headers, body, current, ruled, custom_host, status_page: None }.into()
}
