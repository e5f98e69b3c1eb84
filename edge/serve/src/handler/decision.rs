//! The decision about a request: a file, a backend, a short answer or a refusal, each with what is needed to send it.

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

/// The part of a request that is decided by.
pub struct Head<'r> {
    /// The method.
    pub method: &'r HttpMethod,
    /// The path as it was sent.
    pub path: &'r str,
    /// The query as it was sent.
    pub query: Option<&'r str>,
    /// The host, in lower case, without a port.
    pub host: &'r str,
    /// The fields.
    pub fields: Fields<'r>,
    /// The time, in seconds since 1970 UTC; asked for where a date is to be read.
    pub now_s: fn() -> u64,
    /// Whether the visitor is held on an earlier version, where the environment holds visitors.
    pub heeds_pins: bool,
    /// Longest path that is looked at, in bytes.
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
    /// Something that must be loaded before the request can be decided.
    Load(LoadTarget),
    /// A backend.
    Proxy {
        /// The live version.
        current: Arc<Current>,
        /// The backend.
        to: ProxyTo,
        /// Changes by the site's rules to the head of its answer.
        ruled: HeaderRules,
        /// Whether the host is the app's own.
        custom_host: bool,
    },
    /// What is protected, for a visitor who may see it.
    Protected(Box<Self>),
    /// An error of the edge's own.
    Refuse(Refusal),
    /// A message of a browser that is to be read.
    Report(Box<ReportMessage>),
    /// A head with a short body.
    Small(Box<SmallAnswer>),
    /// A visitor who has to be looked up before the request can be decided.
    Visitor(Box<Visitor>),
}

/// A message of a browser that is to be read.
pub struct ReportMessage {
    pub(super) current: Arc<Current>,
    pub(super) custom_host: bool,
}

impl Decision {
    /// What is decided, whether it is protected or not.
    #[inline]
    pub(super) const fn inner(&self) -> &Self {
        match self {
            Self::Protected(inner) => inner,
            decision => decision,
        }
    }

    /// The same, and whether it is protected.
    pub(super) fn into_inner(self) -> (Self, bool) {
        match self {
            Self::Protected(inner) => (*inner, true),
            decision => (decision, false),
        }
    }

    /// The same, protected if `is_protected`.
    pub(super) fn protected_if(self, is_protected: bool) -> Self {
        if is_protected { Self::Protected(Box::new(self)) } else { self }
    }

    /// Whether the host is the app's own.
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

    /// The same; `None` where nobody has the host.
    #[inline]
    pub(super) fn host_is_custom(&self) -> Option<bool> {
        self.current().map(|_| self.is_custom_host())
    }

    /// The live version that it is about.
    pub(super) fn current(&self) -> Option<&Arc<Current>> {
        match self.inner() {
            Self::File(FileAnswer { current, .. }) | Self::Proxy { current, .. } => Some(current),
            Self::Refuse(refusal) => refusal.current.as_ref(),
            Self::Small(answer) => answer.current.as_ref(),
            Self::Report(message) => Some(&message.current),
            Self::Load(_) | Self::Protected(_) | Self::Visitor(_) => None,
        }
    }

    /// The visitors of the app that it is about, where they are limited.
    #[inline]
    pub(super) fn traffic(&self) -> Option<&Arc<Traffic>> {
        Some(&self.current()?.version.traffic).filter(|traffic| traffic.is_limited())
    }

    /// Whether the site's rules say anything about the answer's head.
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

/// The backends of a request.
pub struct ProxyTo {
    /// Whose they are.
    pub number: Backend,
    /// The target, where a rule changes that of the request.
    pub path_and_query: Option<String>,
    /// The `Host` that the rewrite says, if it says one.
    pub host: Option<HostRule>,
}

/// A file, by reference.
pub struct FileAnswer {
    /// The live version, kept to the last byte (law 1); its `Last-Modified` counts.
    pub current: Arc<Current>,
    /// The version that is answered from, where it is another one (law 10).
    pub keeper: Option<Arc<Version>>,
    /// The file's number.
    pub file: u32,
    /// The representation's number within the file.
    pub representation: usize,
    /// The status.
    pub status: StatusCode,
    /// The bytes.
    pub part: Part,
    /// Its kind, which decides how long it may be cached.
    pub kept: Kept,
    /// Changes by the site's rules to its head.
    pub ruled: HeaderRules,
    /// Whether a cookie decided which version it is of, and no rule changes its head.
    pub is_chosen: bool,
    /// Whether the host is the app's own.
    pub custom_host: bool,
}

impl FileAnswer {
    /// The version that is answered from.
    #[must_use]
    pub fn version(&self) -> &Arc<Version> {
        self.keeper.as_ref().unwrap_or(&self.current.version)
    }
}

/// The bytes of a file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// None: a 304.
    None,
    /// One span.
    One(Span),
    /// Several spans, as `multipart/byteranges`.
    Several(Vec<Span>),
    /// All of them.
    Whole,
}

/// An error of the edge's own, and whose it is.
pub struct Refusal {
    /// Why.
    pub refused: Refused,
    /// The live version, if the request reached one.
    pub current: Option<Arc<Current>>,
    /// Changes by the site's rules to its head.
    pub ruled: HeaderRules,
    /// The pause of the environment, if that is the reason.
    pub paused: Option<Arc<Pause>>,
    /// Whether the host is the app's own.
    pub custom_host: bool,
}

impl From<Refused> for Refusal {
    /// Nobody's: the request came as far as no version.
    fn from(refused: Refused) -> Self {
        Self { refused, current: None, ruled: HeaderRules::default(), paused: None, custom_host: false }
    }
}

/// What is known of a status page before its backends are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPage {
    /// Whether a program reads it.
    pub(super) is_json: bool,
    /// Whether the environment is paused.
    pub(super) is_paused: bool,
}

/// A head with a short body, made for this request.
pub struct SmallAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: bytes::Bytes,
    /// The live version, if the answer is about one.
    pub current: Option<Arc<Current>>,
    /// Changes by the site's rules to its head.
    pub ruled: HeaderRules,
    /// Whether the host is the app's own.
    pub custom_host: bool,
    /// The page whose body says how its backends are, which is known where it is sent.
    pub status_page: Option<StatusPage>,
}

impl From<SmallAnswer> for Decision {
    fn from(answer: SmallAnswer) -> Self {
        Self::Small(Box::new(answer))
    }
}

impl SmallAnswer {
    /// A redirect. One whose address has a secret of a visitor's is kept by nobody.
    #[must_use]
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        let mut headers = HeaderMap::new();
        let is_secret = without_secret_query(location).len() < location.len();
        let cache_control = if is_secret { cache::NEVER } else { cache::REVALIDATE };
        if is_secret {
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        }
        // A `Location` is ASCII (RFC 3986 §2); what else came in a query is kept in its encoded form.
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

/// The answer to OPTIONS, whose fields `ruled` changes.
pub(super) fn options(current: &Arc<Current>, custom_host: bool, ruled: HeaderRules) -> Decision {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ALLOW, HeaderValue::from_static(method::ALLOW));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    let (status, body) = (StatusCode::NO_CONTENT, bytes::Bytes::new());
    let current = Some(Arc::clone(current));
    SmallAnswer { status, headers, body, current, ruled, custom_host, status_page: None }.into()
}
