//! A request for content of a version, after the choice of file, backend or address: the representation, preconditions
//! and ranges of a file, and the fields that rules change.

use std::borrow::Cow;
use std::sync::Arc;

use devanture_site::cache::{self, Kept};
use devanture_site::conditional::{self, Outcome, Preconditions, Validators};
use devanture_site::decide::Backend;
use devanture_site::negotiate::{self, Coding};
use devanture_site::range::{self, RangeOutcome};
use devanture_site::rules::{Access, Varies};
use http::header::HeaderName;
use http::{Method as HttpMethod, StatusCode};

use super::decision::{Decision, FileAnswer, Head, Part, ProxyTo, Refusal, SmallAnswer, options};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::visitor::without_secret_query;
use crate::live::Current;
use crate::version::{Representation, ServedFile, Version};
use devanture_http::{Name, Names};

static ACCEPT_ENCODING: Name = Name::of("accept-encoding");
static IF_MATCH: Name = Name::of("if-match");
static IF_MODIFIED_SINCE: Name = Name::of("if-modified-since");
static IF_NONE_MATCH: Name = Name::of("if-none-match");
static IF_RANGE: Name = Name::of("if-range");
static IF_UNMODIFIED_SINCE: Name = Name::of("if-unmodified-since");
static RANGE: Name = Name::of("range");
static SERVICE_WORKER: Name = Name::of("service-worker");
pub(super) const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Fields that request less than a whole file.
pub(super) const CONDITIONS: Names =
    Names::of(&["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range"]);
pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request for content of a version.
pub(super) struct SiteRequest<'a, 'r> {
    pub(super) head: &'a Head<'r>,
    pub(super) current: &'a Arc<Current>,
    pub(super) custom_host: bool,
    /// The normalized path, decoded.
    pub(super) path: &'a str,
    /// Dependencies of rules, whether or not the rules applied.
    pub(super) varies: Varies,
}

impl SiteRequest<'_, '_> {
    /// A field as one value, joined from all its lines.
    #[inline]
    pub(super) fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        self.head.fields.joined(name)
    }

    pub(super) fn refuse(&self, refused: Refused) -> Decision {
        let ruled = match refused {
            Refused::NotFound => self.ruled(Access::Everybody),
            // A page of another origin reads these responses like the file (Fetch Standard, section 3.2).
            Refused::MethodNotAllowed
            | Refused::MethodUnknown
            | Refused::PreconditionFailed
            | Refused::RangeNotSatisfiable(_) => self.ruled_at_path(),
            _ => HeaderRules::default(),
        };
        let current = Some(Arc::clone(self.current));
        Decision::Refuse(Refusal { current, ruled, custom_host: self.custom_host, ..refused.into() })
    }

    /// The methods of a file. A preflight is answered by the rules for the path alone.
    pub(super) fn methods(&self) -> Decision {
        options(self.current, self.custom_host, self.ruled_at_path())
    }

    /// Redirects the visitor to `location`; rules may change the fields if the redirect is the site's own.
    pub(super) fn redirect(&self, status: u16, location: &str, is_by_site: bool) -> Decision {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::TEMPORARY_REDIRECT);
        // Rules must not make a redirect with a secret cacheable.
        let is_ruled = is_by_site && without_secret_query(location).len() == location.len();
        let ruled = if is_ruled { self.ruled_redirect() } else { HeaderRules::default() };
        let (current, custom_host) = (Some(Arc::clone(self.current)), self.custom_host);
        SmallAnswer { current, ruled, custom_host, ..SmallAnswer::redirect(status, location) }.into()
    }

    /// Forwards the request to a backend; the rewrite of number `rule` may set the `Host` that the backend sees.
    pub(super) fn proxy(&self, number: Backend, path_and_query: Option<String>, rule: Option<u32>) -> Decision {
        let rules = &self.current.version.rules;
        let host = rule.and_then(|rule| rules.redirect_at(rule)?.host.clone());
        // A route belongs to the backend, so no rule of the site applies.
        let ruled = rule.map_or_else(HeaderRules::default, |_| self.ruled_backend());
        let to = ProxyTo { number, path_and_query, host };
        Decision::Proxy { current: Arc::clone(self.current), to, ruled, custom_host: self.custom_host }
    }

    #[inline]
    fn chosen<'f>(&self, file: &'f ServedFile) -> Option<(usize, &'f Representation)> {
        let accept = self.head.fields.named(&ACCEPT_ENCODING);
        let number = negotiate::choose(accept.as_deref(), file.available());
        file.representations.get(number).map(|representation| (number, representation))
    }

    /// A file of the live version or of `keeper`: negotiate, then preconditions, then ranges (RFC 9110 §13.2.2).
    pub(super) fn file(&self, keeper: Option<Arc<Version>>, number: u32, kept: Kept, access: Access) -> Decision {
        let version = keeper.as_deref().unwrap_or(&self.current.version);
        let found = version.file(number).and_then(|file| Some((file, self.chosen(file)?)));
        let Some((file, (representation, chosen))) = found else { return self.refuse(Refused::Unavailable) };
        let mut ruled = self.ruled(access);
        ruled.note_type(file.content_type.value().as_bytes());
        let representation = self.by_dictionary(version, file, representation, &ruled);
        let plain = chosen;
        let chosen = file.representations.get(representation).unwrap_or(plain);
        let (status, part) = match self.head.fields.may_have(CONDITIONS) {
            false => (StatusCode::OK, Part::Whole),
            true => match self.part(chosen) {
                Ok(part) => part,
                Err(refused) => return self.refuse(refused),
            },
        };
        if status == StatusCode::OK {
            self.count_delta(version, plain, chosen);
        }
        let kept = match kept {
            Kept::File if cache::is_service_worker(self.head.fields.named(&SERVICE_WORKER).as_deref()) => {
                Kept::ServiceWorker
            }
            Kept::File if file.is_page => Kept::Page,
            kept => kept,
        };
        Decision::File(FileAnswer {
            keeper,
            current: Arc::clone(self.current),
            file: number,
            representation,
            status,
            part,
            kept,
            ruled,
            is_chosen: false,
            custom_host: self.custom_host,
        })
    }

    /// The requested bytes of a representation, with their status.
    fn part(&self, chosen: &Representation) -> Result<(StatusCode, Part), Refused> {
        let validators = Validators {
            etag: chosen.head.etag().as_str(),
            last_modified: self.current.last_modified_s,
            date_is_strong: chosen.coding() == Coding::Identity,
        };
        match self.preconditions(&validators) {
            Outcome::PreconditionFailed => Err(Refused::PreconditionFailed),
            Outcome::NotModified => Ok((StatusCode::NOT_MODIFIED, Part::None)),
            Outcome::Proceed => match self.range(&validators, chosen.size()) {
                RangeOutcome::Whole => Ok((StatusCode::OK, Part::Whole)),
                RangeOutcome::One(first, last) => Ok((StatusCode::PARTIAL_CONTENT, Part::One((first, last)))),
                RangeOutcome::Several(spans) => Ok((StatusCode::PARTIAL_CONTENT, Part::Several(spans))),
                RangeOutcome::Unsatisfiable => Err(Refused::RangeNotSatisfiable(chosen.size())),
            },
        }
    }

    /// Returns true if the client has the representation and gets a 304.
    pub(super) fn is_known(&self, representation: &Representation) -> bool {
        matches!(self.part(representation), Ok((StatusCode::NOT_MODIFIED, _)))
    }

    /// A page with a status of its own, sent in place of the requested content.
    pub(super) fn page(&self, number: u32, status: u16, access: Access) -> Decision {
        let chosen = self.current.version.file(number).and_then(|file| self.chosen(file));
        let (Some((representation, _)), Ok(status)) = (chosen, StatusCode::from_u16(status)) else {
            // Without its page, the error is a plain 404.
            return self.refuse(Refused::NotFound);
        };
        Decision::File(FileAnswer {
            keeper: None,
            current: Arc::clone(self.current),
            file: number,
            representation,
            status,
            part: Part::Whole,
            kept: Kept::StandIn,
            ruled: self.ruled(access),
            is_chosen: false,
            custom_host: self.custom_host,
        })
    }

    fn preconditions(&self, validators: &Validators<'_>) -> Outcome {
        let if_match = self.head.fields.named(&IF_MATCH);
        let if_none_match = self.head.fields.named(&IF_NONE_MATCH);
        let if_modified_since = self.head.fields.named(&IF_MODIFIED_SINCE);
        let if_unmodified_since = self.head.fields.named(&IF_UNMODIFIED_SINCE);
        // The clock is read only if a date must be parsed.
        let has_date = if_modified_since.is_some() || if_unmodified_since.is_some();
        let preconditions = Preconditions {
            if_match: if_match.as_deref(),
            if_none_match: if_none_match.as_deref(),
            if_modified_since: if_modified_since.as_deref(),
            if_unmodified_since: if_unmodified_since.as_deref(),
            now_seconds: if has_date { (self.head.now_s)() } else { 0 },
        };
        conditional::evaluate(true, &preconditions, validators)
    }

    /// Ranges apply to GET alone (RFC 9110 §14.2).
    fn range(&self, validators: &Validators<'_>, size: u64) -> RangeOutcome {
        if self.head.method != HttpMethod::GET {
            return RangeOutcome::Whole;
        }
        let range = self.head.fields.named(&RANGE);
        if range.is_none() {
            return RangeOutcome::Whole;
        }
        let if_range = self.head.fields.named(&IF_RANGE);
        if !conditional::range_applies(if_range.as_deref(), validators, (self.head.now_s)()) {
            return RangeOutcome::Whole;
        }
        range::parse(range.as_deref(), size)
    }
}
