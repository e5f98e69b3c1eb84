//! Chooses the representation for a client with a dictionary (RFC 9842), and announces answers as dictionaries.

use devanture_config::Sha256;
use devanture_site::cache::Kept;
use devanture_site::decide::access_to_file;
use devanture_site::dictionary::{self, LinkFetch, Origin};
use devanture_site::negotiate::{Acceptable, Coding};
use devanture_site::rules::Access;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, HeaderName, ORIGIN, RANGE, REFERER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use metrics::counter;

use super::decision::Decision;
use super::header_rules::HeaderRules;
use super::refused::Refused;
use super::site_request::{CONDITIONS, SEC_FETCH_DEST, SEC_FETCH_MODE, SiteRequest};
use crate::live::LiveSite;
use crate::version::{FileDictionaries, Representation, ServedFile, USE_AS_DICTIONARY, Version};
use devanture_http::Names;

const AVAILABLE_DICTIONARY: HeaderName = HeaderName::from_static("available-dictionary");
const DICTIONARY_ID: HeaderName = HeaderName::from_static("dictionary-id");
const PRIORITY: HeaderName = HeaderName::from_static("priority");
const SEC_CH_UA: HeaderName = HeaderName::from_static("sec-ch-ua");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The fields of few requests.
const DICTIONARIES: Names = Names::of(&["available-dictionary"]);

/// Why a client that names a dictionary is sent no delta.
#[derive(Debug, Clone, Copy)]
enum NoDelta {
    /// `Available-Dictionary` or `Dictionary-ID` cannot be read.
    BadField,
    /// `Accept-Encoding` names neither `dcb` nor `dcz`.
    NotAccepted,
    /// There is none for this file and this dictionary.
    NotMade,
    /// The client has the file in another form.
    NotModified,
    /// `Accept-Encoding` prefers another encoding, or that is shorter.
    NotPreferred,
    /// The request is of another origin, whose page may not read the answer (RFC 9842 §9).
    OtherOrigin,
    /// A span of a delta is of no use to a client that requests a span of the file.
    Range,
}

impl NoDelta {
    const fn label(self) -> &'static str {
        match self {
            Self::BadField => "bad_field",
            Self::NotAccepted => "not_accepted",
            Self::NotMade => "not_made",
            Self::NotModified => "not_modified",
            Self::NotPreferred => "not_preferred",
            Self::OtherOrigin => "other_origin",
            Self::Range => "range",
        }
    }
}

impl SiteRequest<'_, '_> {
    /// The representation to send in the place of `plain`: a delta where the client has its dictionary, and the one
    /// with the fields of a dictionary where it is asked for as one. What only some may see is never either.
    pub(super) fn by_dictionary(
        &self,
        version: &Version,
        file: &ServedFile,
        plain: usize,
        ruled: &HeaderRules,
    ) -> usize {
        let Some(dictionaries) = file.dictionaries.as_deref() else { return plain };
        if ruled.is_private() {
            return plain;
        }
        let has_dictionary = self.head.fields.may_have(DICTIONARIES);
        let delta = if has_dictionary { self.delta(version, file, dictionaries, plain, ruled) } else { None };
        let number = delta.unwrap_or(plain);
        let offered = dictionaries.as_dictionary(number);
        offered.filter(|_| self.is_fetch_of_dictionary()).unwrap_or(number)
    }

    /// Whether a browser fetches a dictionary that a page offers.
    fn is_fetch_of_dictionary(&self) -> bool {
        // Without a query: pages offer the address alone.
        if self.head.query.is_some() {
            return false;
        }
        let names = [&SEC_FETCH_DEST, &SEC_FETCH_MODE, &SEC_FETCH_SITE, &PRIORITY];
        let [dest, mode, site, priority] = names.map(|name| self.field(name));
        let fetch = LinkFetch {
            dest: dest.as_deref(),
            mode: mode.as_deref(),
            site: site.as_deref(),
            priority: priority.as_deref(),
            has_referer: self.head.fields.contains(&REFERER),
            has_brands: self.head.fields.contains(&SEC_CH_UA),
        };
        fetch.is_of_dictionary()
    }

    /// The delta to send; counts why there is none.
    fn delta(
        &self,
        version: &Version,
        file: &ServedFile,
        dictionaries: &FileDictionaries,
        plain: usize,
        ruled: &HeaderRules,
    ) -> Option<usize> {
        let field = self.field(&AVAILABLE_DICTIONARY)?;
        let found = match dictionary::available_dictionary(&field) {
            Some(sha256) => self.delta_with(sha256, version, file, dictionaries, plain, ruled),
            None => Err(NoDelta::BadField),
        };
        found.map_err(|reason| counter!("devanture_delta_misses_total", "reason" => reason.label()).increment(1)).ok()
    }

    fn delta_with(
        &self,
        sha256: Sha256,
        version: &Version,
        file: &ServedFile,
        dictionaries: &FileDictionaries,
        plain: usize,
        ruled: &HeaderRules,
    ) -> Result<usize, NoDelta> {
        if self.head.fields.contains(&RANGE) {
            return Err(NoDelta::Range);
        }
        if !self.has_sound_id() {
            return Err(NoDelta::BadField);
        }
        if !self.may_have_delta(ruled) {
            return Err(NoDelta::OtherOrigin);
        }
        let acceptable = Acceptable::parse(self.field(&ACCEPT_ENCODING).as_deref());
        if !acceptable.takes(Coding::Dcb) && !acceptable.takes(Coding::Dcz) {
            return Err(NoDelta::NotAccepted);
        }
        let plain = file.representations.get(plain).ok_or(NoDelta::NotMade)?;
        if self.head.fields.may_have(CONDITIONS) && self.is_known(plain) {
            // A client that has it plainly is to load nothing at all, not a delta.
            return Err(NoDelta::NotModified);
        }
        let known = version.deltas(dictionaries, sha256);
        let sizes =
            || known.clone().filter_map(|number| file.representations.get(number)).map(|r| (r.coding(), r.size()));
        if sizes().next().is_none() {
            // The code that makes deltas looks up whether there is such a dictionary: here nobody learns it.
            version.report_miss(dictionaries.blob, sha256);
            return Err(NoDelta::NotMade);
        }
        let place = acceptable.delta_instead((plain.coding(), plain.size()), sizes()).ok_or(NoDelta::NotPreferred)?;
        known.clone().nth(place).ok_or(NoDelta::NotMade)
    }

    /// Counts an answer that is sent as a delta instead of as `plain`.
    pub(super) fn count_delta(&self, version: &Version, plain: &Representation, sent: &Representation) {
        let form = match sent.coding() {
            Coding::Dcb => 0,
            Coding::Dcz => 1,
            _ => return,
        };
        if self.head.method == Method::GET {
            version.metrics.count_delta(form, plain.size().saturating_sub(sent.size()));
        }
    }

    fn has_sound_id(&self) -> bool {
        self.field(&DICTIONARY_ID).is_none_or(|id| dictionary::is_dictionary_id(&id))
    }

    fn may_have_delta(&self, ruled: &HeaderRules) -> bool {
        let [site, mode, origin] = [&SEC_FETCH_SITE, &SEC_FETCH_MODE, &ORIGIN].map(|name| self.field(name));
        let origin = Origin { site: site.as_deref(), mode: mode.as_deref(), origin: origin.as_deref() };
        origin.may_have_delta(|| ruled.allowed_origin())
    }

    /// The dictionary that the pages share. Once a path of the version was withdrawn it is gone: it may hold some of
    /// it.
    pub(super) fn pages_dictionary(&self, site: &LiveSite<'_>, sha256: Sha256) -> Decision {
        let version = &self.current.version;
        let known = version.pages.filter(|(known, _)| *known == sha256 && !self.current.withdrawn.touches(version));
        let Some((_, number)) = known else { return self.refuse(Refused::NotFound) };
        match access_to_file(site, self.head, self.path, number) {
            Access::Refused => self.refuse(Refused::Unauthorised),
            access => self.file(None, number, Kept::File, access),
        }
    }
}

/// Takes back that an answer is to be a dictionary, where it is not kept, or neither whole nor what the browser has
/// whole.
pub(super) fn unless_kept(headers: &mut HeaderMap, status: StatusCode) {
    let is_whole = matches!(status, StatusCode::OK | StatusCode::NOT_MODIFIED);
    if !headers.contains_key(USE_AS_DICTIONARY) {
        return;
    }
    let value = headers.get(CACHE_CONTROL).map(HeaderValue::as_bytes).unwrap_or_default();
    if !is_whole || !dictionary::is_kept(value) {
        headers.remove(USE_AS_DICTIONARY);
    }
}
