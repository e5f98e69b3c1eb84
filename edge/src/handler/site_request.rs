//! A request for something of a version that is no route's: access, then rules, then files, then what the site says of
//! misses.

use std::borrow::Cow;
use std::sync::Arc;

use devanture_config::site_toml::NotFound;
use devanture_site::cache::Kept;
use devanture_site::conditional::{self, Outcome, Preconditions, Validators};
use devanture_site::method::Method;
use devanture_site::negotiate::Coding;
use devanture_site::range::{self, RangeOutcome};
use devanture_site::resolve::{self, Resolution};
use devanture_site::rules::{Access, CompiledRules, Varies};
use devanture_site::{navigation, negotiate, target};
use http::header::{ACCEPT, AUTHORIZATION, HeaderName};
use http::{Method as HttpMethod, StatusCode};

use super::decision::{self, Decision, FileAnswer, Head, Part, Refusal, SmallAnswer, with_query};
use super::header_rules::HeaderRules;
use super::refused::Refused;
use crate::engine::{Name, Names};
use crate::live::{Current, Place};
use crate::version::{Representation, ServedFile, Setting, Version};

static ACCEPT_ENCODING: Name = Name::of("accept-encoding");
static IF_MATCH: Name = Name::of("if-match");
static IF_MODIFIED_SINCE: Name = Name::of("if-modified-since");
static IF_NONE_MATCH: Name = Name::of("if-none-match");
static IF_RANGE: Name = Name::of("if-range");
static IF_UNMODIFIED_SINCE: Name = Name::of("if-unmodified-since");
static RANGE: Name = Name::of("range");
pub(super) const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Fields that request less than all of a file.
pub(super) const CONDITIONS: Names =
    Names::of(&["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range"]);
pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A request for something of a version.
pub(super) struct SiteRequest<'a, 'r> {
    pub(super) head: &'a Head<'r>,
    pub(super) current: &'a Arc<Current>,
    pub(super) custom_host: bool,
    pub(super) place: Option<&'a Place>,
    /// The path in its normal form, decoded.
    pub(super) path: &'a str,
    /// The file that it leads to, where that is known.
    pub(super) straight: Option<u32>,
    /// Dependencies of rules, whether or not they applied.
    pub(super) varies: Varies,
}

impl<'a, 'r> SiteRequest<'a, 'r> {
    /// Asks for `path`, of which nothing more is known.
    pub(super) fn new(
        head: &'a Head<'r>,
        current: &'a Arc<Current>,
        place: Option<&'a Place>,
        custom_host: bool,
        path: &'a str,
    ) -> Self {
        Self { head, current, custom_host, place, path, straight: None, varies: Varies::default() }
    }
}

impl SiteRequest<'_, '_> {
    /// Decides: who may see it, what the rules say, which file it is.
    pub(super) fn decide(mut self) -> Decision {
        if self.access(self.path) == Access::Refused {
            return self.refuse(Refused::Unauthorised);
        }
        if self.current.withdrawn.hides(&self.current.version, self.path) {
            return self.by_method().unwrap_or_else(|| self.withdrawn());
        }
        if let Some(decision) = self.by_rule() {
            return decision;
        }
        if let Some(decision) = self.by_method() {
            return decision;
        }
        let version = &self.current.version;
        let resolve = || resolve::resolve(&version.index, version.html_handling, self.path);
        match self.straight.map_or_else(resolve, Resolution::File) {
            Resolution::File(number) => self.file(None, number, Kept::File),
            Resolution::Redirect(to) => {
                let location = with_query(target::encode_path(&to), self.head.query);
                self.redirect(StatusCode::TEMPORARY_REDIRECT, &location)
            }
            Resolution::Missing => self.missing(self.path),
        }
    }

    /// The answer to a method that files do not have.
    #[inline]
    pub(super) fn by_method(&self) -> Option<Decision> {
        if *self.head.method == HttpMethod::GET { None } else { self.by_other_method() }
    }

    fn by_other_method(&self) -> Option<Decision> {
        match Method::of(self.head.method.as_str()) {
            Method::Get | Method::Head => None,
            Method::Options => Some(decision::options(self.current, self.custom_host)),
            Method::NotAllowed => Some(self.refuse(Refused::MethodNotAllowed)),
            Method::NotImplemented => Some(self.refuse(Refused::MethodUnknown)),
        }
    }

    /// A field as one value, however many lines it came in.
    #[inline]
    pub(super) fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        self.head.fields.joined(name)
    }

    pub(super) fn refuse(&self, refused: Refused) -> Decision {
        let ruled = match refused {
            Refused::NotFound => self.ruled(Access::Everybody),
            _ => HeaderRules::default(),
        };
        let current = Some(Arc::clone(self.current));
        Decision::Refuse(Refusal { current, ruled, custom_host: self.custom_host, ..refused.into() })
    }

    /// Sends the visitor to `location`.
    pub(super) fn redirect(&self, status: StatusCode, location: &str) -> Decision {
        let (current, ruled) = (Some(Arc::clone(self.current)), self.ruled_redirect());
        let custom_host = self.custom_host;
        SmallAnswer { current, ruled, custom_host, ..SmallAnswer::redirect(status, location) }.into()
    }

    /// Whether the visitor may see what has this path.
    #[inline]
    pub(super) fn access(&self, path: &str) -> Access {
        let rules = &self.current.version.rules;
        if !rules.has_guards() {
            return Access::Everybody;
        }
        rules.access(self.head.host, path, self.field(&AUTHORIZATION).as_deref())
    }

    #[inline]
    fn chosen<'f>(&self, file: &'f ServedFile) -> Option<(usize, &'f Representation)> {
        let accept = self.head.fields.named(&ACCEPT_ENCODING);
        let number = negotiate::choose(accept.as_deref(), &file.available);
        file.representations.get(number).map(|representation| (number, representation))
    }

    /// A file that is there, in the version that is live or in `keeper`: negotiate, then preconditions, then ranges
    /// (RFC 9110 §13.2.2).
    pub(super) fn file(&self, keeper: Option<Arc<Version>>, number: u32, kept: Kept) -> Decision {
        let version = keeper.as_deref().unwrap_or(&self.current.version);
        if self.current.withdrawn.hides_file(version, number) {
            return self.not_found(self.path);
        }
        let found = version.file(number).and_then(|file| Some((file, self.chosen(file)?)));
        let Some((file, (representation, chosen))) = found else { return self.refuse(Refused::Unavailable) };
        // Several paths lead to one file, and some rule may keep only one of them from strangers.
        let access = self.access_to(version, file);
        if access == Access::Refused {
            return self.refuse(Refused::Unauthorised);
        }
        let ruled = self.ruled(access);
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
        let kept = if kept == Kept::File && file.is_page { Kept::Page } else { kept };
        Decision::File(FileAnswer {
            keeper,
            current: Arc::clone(self.current),
            file: number,
            representation,
            status,
            part,
            kept,
            ruled,
            custom_host: self.custom_host,
        })
    }

    /// The requested bytes of a representation, with their status.
    fn part(&self, chosen: &Representation) -> Result<(StatusCode, Part), Refused> {
        let validators = Validators {
            etag: chosen.head.etag().as_str(),
            last_modified: self.current.last_modified_s,
            date_is_strong: chosen.coding == Coding::Identity,
        };
        match self.preconditions(&validators) {
            Outcome::PreconditionFailed => Err(Refused::PreconditionFailed),
            Outcome::NotModified => Ok((StatusCode::NOT_MODIFIED, Part::None)),
            Outcome::Proceed => match self.range(&validators, chosen.size) {
                RangeOutcome::Whole => Ok((StatusCode::OK, Part::Whole)),
                RangeOutcome::One(first, last) => Ok((StatusCode::PARTIAL_CONTENT, Part::One((first, last)))),
                RangeOutcome::Several(spans) => Ok((StatusCode::PARTIAL_CONTENT, Part::Several(spans))),
                RangeOutcome::Unsatisfiable => Err(Refused::RangeNotSatisfiable(chosen.size)),
            },
        }
    }

    /// Whether the client has a representation, and gets a 304.
    pub(super) fn is_known(&self, representation: &Representation) -> bool {
        matches!(self.part(representation), Ok((StatusCode::NOT_MODIFIED, _)))
    }

    /// Whether the visitor may see a file of `version`: by the path that was asked for, and by every other that leads
    /// to the file or to what it is an encoding of. An asset of a version that was replaced is kept as that version
    /// kept it.
    #[inline]
    fn access_to(&self, version: &Version, file: &ServedFile) -> Access {
        let live = &*self.current.version;
        match live.rules.has_guards() || version.rules.has_guards() {
            true => self.guarded_access_to(version, file),
            false => Access::Everybody,
        }
    }

    fn guarded_access_to(&self, version: &Version, file: &ServedFile) -> Access {
        let live = &*self.current.version;
        let kept = (!std::ptr::eq(live, version)).then_some(version);
        let guarding = || std::iter::once(live).chain(kept).map(|version| &version.rules).filter(|r| r.has_guards());
        let authorization = self.field(&AUTHORIZATION);
        let mut paths = resolve::addresses(Coding::plain_path(&file.path).unwrap_or(&file.path));
        paths.extend([self.path.to_owned(), format!("/{}", file.path)]);
        let access = |rules: &CompiledRules, path| rules.access(self.head.host, path, authorization.as_deref());
        let all = guarding().flat_map(|rules| paths.iter().map(move |path| access(rules, path)));
        all.max().unwrap_or(Access::Everybody)
    }

    /// A page with a status of its own; it stands in for what was asked for.
    pub(super) fn page(&self, number: u32, status: StatusCode) -> Decision {
        let version = &self.current.version;
        if self.current.withdrawn.hides_file(version, number) {
            return self.refuse(Refused::NotFound);
        }
        let found = version.file(number).and_then(|file| Some((self.access_to(version, file), self.chosen(file)?)));
        match found {
            Some((Access::Refused, _)) => self.refuse(Refused::Unauthorised),
            Some((access, (representation, _))) => Decision::File(FileAnswer {
                keeper: None,
                current: Arc::clone(self.current),
                file: number,
                representation,
                status,
                part: Part::Whole,
                kept: Kept::StandIn,
                ruled: self.ruled(access),
                custom_host: self.custom_host,
            }),
            // A page that stands in with an error says what is wrong with the path; any other one is what was asked
            // for.
            None if status.is_success() => self.refuse(Refused::Unavailable),
            None => self.refuse(Refused::NotFound),
        }
    }

    fn preconditions(&self, validators: &Validators<'_>) -> Outcome {
        let if_match = self.head.fields.named(&IF_MATCH);
        let if_none_match = self.head.fields.named(&IF_NONE_MATCH);
        let if_modified_since = self.head.fields.named(&IF_MODIFIED_SINCE);
        let if_unmodified_since = self.head.fields.named(&IF_UNMODIFIED_SINCE);
        // No clock is asked where no date is to be read.
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

    /// Ranges are for GET alone (RFC 9110 §14.2).
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

    /// A path that is no file: an asset of a version that was just replaced, else what the site says of misses.
    pub(super) fn missing(&self, path: &str) -> Decision {
        let version = &self.current.version;
        if let Some(decision) = self.kept_asset(path) {
            return decision;
        }
        match version.not_found {
            NotFound::SinglePageApplication if self.may_have_shell() => match version.index.shell() {
                Some(number) => self.file(None, number, Kept::StandIn),
                None => self.refuse(Refused::NotFound),
            },
            _ => self.not_found(path),
        }
    }

    /// The nearest page that says so, where the site has it say so.
    pub(super) fn not_found(&self, path: &str) -> Decision {
        let version = &self.current.version;
        let page = match version.not_found {
            NotFound::Page404 => resolve::not_found_page(&version.index, path),
            NotFound::SinglePageApplication | NotFound::None => None,
        };
        match page {
            Some(number) => self.page(number, StatusCode::NOT_FOUND),
            None => self.refuse(Refused::NotFound),
        }
    }

    /// The fingerprinted asset at `path` in a version that was replaced here, or is about to be live (law 10).
    pub(super) fn kept_asset(&self, path: &str) -> Option<Decision> {
        let (keeper, number) = kept_asset(self.place?, self.current, path)?;
        metrics::counter!("devanture_kept_assets_total", "app" => keeper.app.to_string()).increment(1);
        Some(self.file(Some(keeper), number, Kept::File))
    }

    /// A path that was withdrawn: only what was stored since may answer it, and neither a rule nor the page of an
    /// application stands in.
    fn withdrawn(&self) -> Decision {
        self.kept_asset(self.path).unwrap_or_else(|| self.not_found(self.path))
    }

    /// Whether the page of an application may answer.
    pub(super) fn may_have_shell(&self) -> bool {
        let (mode, dest) = (self.field(&SEC_FETCH_MODE), self.field(&SEC_FETCH_DEST));
        let accept = self.field(&ACCEPT);
        navigation::may_have_shell(mode.as_deref(), dest.as_deref(), accept.as_deref(), self.path)
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
    let keeper = place.asset_fallback(&current.version, |version| asset(version).is_some())?;
    let number = asset(&keeper)?;
    Some((keeper, number))
}
