//! What a request is to be answered with: synchronous, without I/O, and apart from any protocol.

use std::borrow::Cow;
use std::sync::Arc;

use devanture_config::api::Pause;
use devanture_config::site_toml::NotFound;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode};

use super::pause;
use super::refused::Refused;
use crate::live::{Current, Found, Live, Place, PreviewKey};
use crate::site::conditional::{self, Outcome, Preconditions, Validators};
use crate::site::method::{self, Method};
use crate::site::negotiate::Coding;
use crate::site::range::{self, RangeOutcome, Span};
use crate::site::resolve::{self, Resolution};
use crate::site::target::{self, Target};
use crate::site::{cache, fields, navigation, negotiate};
use crate::version::{Representation, ServedFile, Setting, Version};

/// Where every version tells what it is; a path of the edge's own, before routes and files.
pub(super) const RELEASE_PATH: &str = "/.well-known/devanture/release.json";
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

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
    pub headers: &'r HeaderMap,
    /// The time, in seconds since 1970 UTC.
    pub now_s: u64,
    /// Longest path that is looked at, in bytes.
    pub target_bytes_max: usize,
}

/// What a request is answered with.
pub enum Decision {
    /// A file of a version.
    File(FileAnswer),
    /// A preview that must be loaded first.
    Load(PreviewKey),
    /// The backend of a route, by its number in the version.
    Proxy {
        /// What is live.
        current: Arc<Current>,
        /// The number of the route.
        route: usize,
        /// Whether the host is the app's own.
        custom_host: bool,
    },
    /// An error of the edge's own.
    Refuse(Refusal),
    /// A head with a short body.
    Small(SmallAnswer),
}

/// A file, by reference.
pub struct FileAnswer {
    /// The version that is answered from, to the last byte (law 1).
    pub version: Arc<Version>,
    /// What is live, whose `Last-Modified` counts.
    pub current: Arc<Current>,
    /// The file's number.
    pub file: u32,
    /// The representation's number within the file.
    pub representation: usize,
    /// The status.
    pub status: StatusCode,
    /// Which bytes.
    pub part: Part,
    /// Whether the host is the app's own.
    pub custom_host: bool,
}

/// Which bytes of a file are sent.
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
    /// What is live, where the request came as far as a version.
    pub current: Option<Arc<Current>>,
    /// How the environment is paused, where that is why.
    pub paused: Option<Arc<Pause>>,
    /// Whether the host is the app's own.
    pub custom_host: bool,
}

impl From<Refused> for Refusal {
    /// Nobody's: the request came as far as no version.
    fn from(refused: Refused) -> Self {
        Self { refused, current: None, paused: None, custom_host: false }
    }
}

/// A head with a short body, made for this request.
pub struct SmallAnswer {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: bytes::Bytes,
    /// What is live, where the answer is about a version.
    pub current: Option<Arc<Current>>,
    /// Whether the host is the app's own.
    pub custom_host: bool,
}

impl SmallAnswer {
    /// A redirect.
    #[must_use]
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        let mut headers = HeaderMap::new();
        match HeaderValue::from_str(location) {
            Ok(location) => headers.insert(LOCATION, location),
            // Whatever leads here was encoded; nothing that cannot stand in a header is left.
            Err(_) => headers.insert(LOCATION, HeaderValue::from_static("/")),
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::REVALIDATE));
        Self { status, headers, body: bytes::Bytes::new(), current: None, custom_host: false }
    }
}

/// Decides what a request is answered with.
#[must_use]
pub fn decide(head: &Head<'_>, live: &Live) -> Decision {
    match live.find(head.host) {
        Found::Nobody => Decision::Refuse(Refused::UnknownHost.into()),
        Found::Preview(key) => match live.preview(&key) {
            Some(current) => decide_in(head, current, None, false),
            None => Decision::Load(key),
        },
        Found::Place(entry) => match (pause::refusal(head, &entry), entry.place.current()) {
            (Some(refusal), _) => Decision::Refuse(refusal),
            (None, Some(current)) => decide_in(head, current, Some(&entry.place), entry.custom),
            (None, None) => Decision::Refuse(Refusal { custom_host: entry.custom, ..Refused::Unavailable.into() }),
        },
    }
}

/// Decides for a version that is known: the edge's own path, then routes, then files.
pub(crate) fn decide_in(head: &Head<'_>, current: Arc<Current>, place: Option<&Place>, custom_host: bool) -> Decision {
    match *head.method {
        // RFC 9110 §9.3.6: the edge is no proxy that a client chooses; a tunnel has no path that a route could match.
        HttpMethod::CONNECT => return refuse(current, custom_host, Refused::MethodNotAllowed),
        // RFC 9110 §9.3.7: about the server as a whole.
        HttpMethod::OPTIONS if head.path == "*" => return options(current, custom_host),
        _ => {}
    }
    if head.path == RELEASE_PATH {
        return release(head, current, custom_host);
    }
    if let Some(decision) = route(head, &current, custom_host) {
        return decision;
    }
    let path = match target::normalise(head.path, head.target_bytes_max) {
        Target::Normal(path) => path,
        Target::Redirect(to) => return moved(head, current, custom_host, to),
        Target::Refuse(error) => return refuse(current, custom_host, error.into()),
    };
    match Method::of(head.method.as_str()) {
        Method::Get | Method::Head => {}
        Method::Options => return options(current, custom_host),
        Method::NotAllowed => return refuse(current, custom_host, Refused::MethodNotAllowed),
        Method::NotImplemented => return refuse(current, custom_host, Refused::MethodUnknown),
    }
    let asked = Asked { head, current, custom_host };
    let version = &asked.current.version;
    if asked.current.withdrawn.hides(version, &path) {
        return asked.withdrawn(&path, place);
    }
    match resolve::resolve(&version.index, version.html_handling, &path) {
        Resolution::File(number) => asked.file(Arc::clone(version), number),
        Resolution::Redirect(to) => {
            redirect(head, asked.current, custom_host, StatusCode::TEMPORARY_REDIRECT, target::encode_path(&to))
        }
        Resolution::Missing => asked.missing(&path, place),
    }
}

/// A path that belongs to a route is never answered by a file or a fallback, whatever its spelling (law 9).
fn route(head: &Head<'_>, current: &Arc<Current>, custom_host: bool) -> Option<Decision> {
    let version = &current.version;
    if version.routes.is_empty() {
        return None;
    }
    match target::normalise_for_route(head.path, head.target_bytes_max) {
        Target::Normal(text) => {
            let route = version.route(&text)?;
            // RFC 9110 §9.3.8: what a backend would send back holds fields that a script may not read.
            if *head.method == HttpMethod::TRACE {
                return Some(refuse(Arc::clone(current), custom_host, Refused::MethodUnknown));
            }
            Some(Decision::Proxy { current: Arc::clone(current), route, custom_host })
        }
        // Dot segments and doubled slashes mean one thing here and another in a backend: only the normal form goes on.
        Target::Redirect(to) => match target::normalise_for_route(&to, head.target_bytes_max) {
            Target::Normal(text) if version.route(&text).is_some() => {
                Some(redirect(head, Arc::clone(current), custom_host, StatusCode::PERMANENT_REDIRECT, to))
            }
            _ => None,
        },
        Target::Refuse(error) => Some(refuse(Arc::clone(current), custom_host, error.into())),
    }
}

/// Redirects to the normal form `to`; where that would be redirected to a page's place in its turn, to that place at
/// once, and only for now, since the next version may have the page elsewhere.
fn moved(head: &Head<'_>, current: Arc<Current>, custom_host: bool, to: String) -> Decision {
    let version = &current.version;
    let place = match target::normalise(&to, to.len()) {
        Target::Normal(path) if version.route(&path).is_none() => {
            match resolve::resolve(&version.index, version.html_handling, &path) {
                Resolution::Redirect(place) => Some(target::encode_path(&place)),
                Resolution::File(_) | Resolution::Missing => None,
            }
        }
        // A normal form is normal; a route's answer is its backend's.
        _ => None,
    };
    let (status, to) = match place {
        Some(place) => (StatusCode::TEMPORARY_REDIRECT, place),
        None => (StatusCode::PERMANENT_REDIRECT, to),
    };
    redirect(head, current, custom_host, status, to)
}

fn refuse(current: Arc<Current>, custom_host: bool, refused: Refused) -> Decision {
    Decision::Refuse(Refusal { refused, current: Some(current), paused: None, custom_host })
}

fn redirect(
    head: &Head<'_>,
    current: Arc<Current>,
    custom_host: bool,
    status: StatusCode,
    mut location: String,
) -> Decision {
    if let Some(query) = head.query {
        location.push('?');
        location.push_str(query);
    }
    Decision::Small(SmallAnswer { current: Some(current), custom_host, ..SmallAnswer::redirect(status, &location) })
}

fn release(head: &Head<'_>, current: Arc<Current>, custom_host: bool) -> Decision {
    match Method::of(head.method.as_str()) {
        Method::Get | Method::Head => {}
        _ => return refuse(current, custom_host, Refused::MethodNotAllowed),
    }
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let body = current.version.release.clone();
    Decision::Small(SmallAnswer { status: StatusCode::OK, headers, body, current: Some(current), custom_host })
}

fn options(current: Arc<Current>, custom_host: bool) -> Decision {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(ALLOW, HeaderValue::from_static(method::ALLOW));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache::NEVER));
    let status = StatusCode::NO_CONTENT;
    Decision::Small(SmallAnswer { status, headers, body: bytes::Bytes::new(), current: Some(current), custom_host })
}

/// A request for something of a version.
struct Asked<'a, 'r> {
    head: &'a Head<'r>,
    current: Arc<Current>,
    custom_host: bool,
}

impl Asked<'_, '_> {
    /// A field as one value, however many lines it came in.
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        fields::joined(self.head.headers.get_all(name).iter().map(HeaderValue::as_bytes))
    }

    fn refuse(&self, refused: Refused) -> Decision {
        refuse(Arc::clone(&self.current), self.custom_host, refused)
    }

    fn chosen<'f>(&self, file: &'f ServedFile) -> Option<(usize, &'f Representation)> {
        let accept = self.field(&ACCEPT_ENCODING);
        let number = negotiate::choose(accept.as_deref(), &file.available);
        file.representations.get(number).map(|representation| (number, representation))
    }

    /// A file that is there: negotiate, then preconditions, then ranges (RFC 9110 §13.2.2).
    fn file(&self, version: Arc<Version>, number: u32) -> Decision {
        if self.current.withdrawn.hides_file(&version, number) {
            return self.gone(self.head.path);
        }
        let chosen = version.file(number).and_then(|file| self.chosen(file));
        let Some((representation, chosen)) = chosen else { return self.refuse(Refused::Unavailable) };
        let validators = Validators {
            etag: &chosen.etag,
            last_modified: self.current.last_modified_s,
            date_is_strong: chosen.coding == Coding::Identity,
        };
        let (status, part) = match self.preconditions(&validators) {
            Outcome::PreconditionFailed => return self.refuse(Refused::PreconditionFailed),
            Outcome::NotModified => (StatusCode::NOT_MODIFIED, Part::None),
            Outcome::Proceed => match self.range(&validators, chosen.size) {
                RangeOutcome::Whole => (StatusCode::OK, Part::Whole),
                RangeOutcome::One(first, last) => (StatusCode::PARTIAL_CONTENT, Part::One((first, last))),
                RangeOutcome::Several(spans) => (StatusCode::PARTIAL_CONTENT, Part::Several(spans)),
                RangeOutcome::Unsatisfiable => return self.refuse(Refused::RangeNotSatisfiable(chosen.size)),
            },
        };
        self.answer(version, number, representation, status, part)
    }

    fn answer(
        &self,
        version: Arc<Version>,
        file: u32,
        representation: usize,
        status: StatusCode,
        part: Part,
    ) -> Decision {
        let current = Arc::clone(&self.current);
        Decision::File(FileAnswer {
            version,
            current,
            file,
            representation,
            status,
            part,
            custom_host: self.custom_host,
        })
    }

    fn preconditions(&self, validators: &Validators<'_>) -> Outcome {
        let if_match = self.field(&IF_MATCH);
        let if_none_match = self.field(&IF_NONE_MATCH);
        let if_modified_since = self.field(&IF_MODIFIED_SINCE);
        let if_unmodified_since = self.field(&IF_UNMODIFIED_SINCE);
        let preconditions = Preconditions {
            if_match: if_match.as_deref(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: if_modified_since.as_deref(),
            if_unmodified_since: if_unmodified_since.as_deref(),
            now_seconds: self.head.now_s,
        };
        conditional::evaluate(true, &preconditions, validators)
    }

    /// Ranges are for GET alone (RFC 9110 §14.2).
    fn range(&self, validators: &Validators<'_>, size: u64) -> RangeOutcome {
        if self.head.method != HttpMethod::GET {
            return RangeOutcome::Whole;
        }
        let range = self.field(&RANGE);
        if range.is_none() {
            return RangeOutcome::Whole;
        }
        let if_range = self.field(&IF_RANGE);
        if !conditional::range_applies(if_range.as_deref(), validators, self.head.now_s) {
            return RangeOutcome::Whole;
        }
        range::parse(range.as_deref(), size)
    }

    /// A path that is no file: an asset of a version that was just replaced, else what the site says of misses.
    fn missing(&self, path: &str, place: Option<&Place>) -> Decision {
        if let Some(kept) = self.kept(path, place) {
            return kept;
        }
        let version = &self.current.version;
        match version.not_found {
            NotFound::SinglePageApplication if self.wants_page() => match version.index.shell() {
                Some(number) => self.file(Arc::clone(version), number),
                None => self.refuse(Refused::NotFound),
            },
            NotFound::Page404 | NotFound::SinglePageApplication | NotFound::None => self.gone(path),
        }
    }

    /// What is missing here, in a version that was just replaced or is about to be live (law 10).
    fn kept(&self, path: &str, place: Option<&Place>) -> Option<Decision> {
        let (keeper, number) = place.and_then(|place| kept_asset(place, &self.current, path))?;
        let app = self.current.version.app.to_string();
        metrics::counter!("devanture_kept_assets_total", "app" => app).increment(1);
        Some(self.file(keeper, number))
    }

    /// A path that was withdrawn: only what was stored since may answer it, and no page of an application stands in.
    fn withdrawn(&self, path: &str, place: Option<&Place>) -> Decision {
        self.kept(path, place).unwrap_or_else(|| self.gone(path))
    }

    /// A 404, with the site's page for it.
    fn gone(&self, path: &str) -> Decision {
        let version = &self.current.version;
        let page = match version.not_found {
            NotFound::Page404 => resolve::not_found_page(&version.index, path),
            NotFound::SinglePageApplication | NotFound::None => None,
        };
        match page.filter(|page| !self.current.withdrawn.hides_file(version, *page)) {
            Some(number) => self.not_found_page(number),
            None => self.refuse(Refused::NotFound),
        }
    }

    fn not_found_page(&self, number: u32) -> Decision {
        let version = &self.current.version;
        match version.file(number).and_then(|file| self.chosen(file)) {
            Some((representation, _)) => {
                self.answer(Arc::clone(version), number, representation, StatusCode::NOT_FOUND, Part::Whole)
            }
            None => self.refuse(Refused::NotFound),
        }
    }

    fn wants_page(&self) -> bool {
        let (mode, dest) = (self.field(&SEC_FETCH_MODE), self.field(&SEC_FETCH_DEST));
        let accept = self.field(&ACCEPT);
        navigation::wants_page(mode.as_deref(), dest.as_deref(), accept.as_deref())
    }
}

/// The fingerprinted asset at `path` in a version that was replaced here, or is about to be live (law 10).
fn kept_asset(place: &Place, current: &Current, path: &str) -> Option<(Arc<Version>, u32)> {
    if place.setting == Setting::Preview {
        return None;
    }
    let asset = |version: &Version| {
        let number = version.index.exact(path)?;
        let is_kept = version.file(number)?.fingerprinted && !current.withdrawn.hides_file(version, number);
        is_kept.then_some(number)
    };
    let keeper = place.keeper_of(|version| asset(version).is_some())?;
    let number = asset(&keeper)?;
    Some((keeper, number))
}
