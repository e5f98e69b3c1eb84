//! Chooses the representation for a client with a dictionary (RFC 9842), and announces responses as dictionaries.

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
/// Fields that few requests have.
const DICTIONARIES: Names = Names::of(&["available-dictionary"]);

/// Reason that a client with a dictionary gets no delta.
#[derive(Debug, Clone, Copy)]
enum NoDelta {
    /// `Available-Dictionary` or `Dictionary-ID` cannot be parsed.
    BadField,
    /// `Accept-Encoding` names neither `dcb` nor `dcz`.
    NotAccepted,
    /// No delta exists for the file and the dictionary.
    NotMade,
    /// The client has the file in another encoding.
    NotModified,
    /// `Accept-Encoding` prefers another encoding, or another encoding is shorter.
    NotPreferred,
    /// The request is cross-origin, and the page may not read the response (RFC 9842 §9).
    OtherOrigin,
    /// The client requests a span of the file, and a span of a delta is useless to the client.
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
    /// The representation to send in place of `plain`: a delta if the client has the dictionary, or the one with a
    /// dictionary's fields if requested as a dictionary. Protected content is never either.
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

    /// Returns true if a browser fetches a dictionary that a page offers.
    fn is_fetch_of_dictionary(&self) -> bool {
        // Pages offer the address without a query.
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

    /// The delta to send; otherwise counts the reason.
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
            // A client with the plain file needs no bytes, not even a delta.
            return Err(NoDelta::NotModified);
        }
        let known = version.deltas(dictionaries, sha256);
        let sizes =
            || known.clone().filter_map(|number| file.representations.get(number)).map(|r| (r.coding(), r.size()));
        if sizes().next().is_none() {
            // The delta maker checks later whether the dictionary exists; the client must not learn the result.
            version.report_miss(dictionaries.blob, sha256);
            return Err(NoDelta::NotMade);
        }
        let place = acceptable.delta_instead((plain.coding(), plain.size()), sizes()).ok_or(NoDelta::NotPreferred)?;
        known.clone().nth(place).ok_or(NoDelta::NotMade)
    }

    /// Counts a response sent as a delta instead of `plain`.
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

    /// The dictionary shared by the pages. Gone once a path of the version is withdrawn, since the dictionary may
    /// contain its bytes.
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

/// Removes the announcement as a dictionary from a response that is not cacheable, or neither whole nor a 304 of the
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
