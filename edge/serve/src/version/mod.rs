//! A manifest prepared for serving: the path index, the merged settings, and for every encoding of every file the head
//! that goes before it. Made once when a version is loaded; nothing in it changes afterwards.
//!
//! Nearly all of it is [`Content`], which is shared by all places with the same merged settings; a [`Version`] is a
//! content in one place.

mod alone;
mod bodies;
mod browser_cache;
mod content_type;
mod damage;
mod deltas;
mod dictionary_misses;
mod field_list;
mod head;
mod head_fields;
mod indexes;
mod integrity;
mod load;
mod loader;
mod memory;
mod place;
mod prefetch;
mod rule_files;
mod rule_memory;
mod traffic;
mod version_field;

pub use browser_cache::KeptFiles;
pub use damage::DamagedFile;
pub use deltas::FileDictionaries;
pub use dictionary_misses::{DictionaryMiss, DictionaryMisses};
pub use field_list::{CommonField, USE_AS_DICTIONARY};
pub use head::{EntityTag, PreparedHead};
pub use indexes::Indexes;
pub use integrity::put_hashed_pages;
pub use load::load;
pub use loader::{Error, LoadRequest};
pub use memory::{AppMemory, AppUsage, Charge, Claim, Fill, Memory, OverMemory, Relief};
pub use place::Served;
pub use rule_files::{RuleFileError, RuleFiles};
pub use rule_memory::{RuleMemory, RuleReader};
pub(crate) use traffic::Turn;
pub use traffic::{Entered, LIMITS_APPLIED, Traffic, TrafficUsage, Traffics};
pub use version_field::{VERSION_HEADER, VersionField};

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::manifest::Managed;
use devanture_config::site_toml::{HtmlHandling, NotFound, Route, SmokeCheck, Upstream, UpstreamUrl};
use devanture_config::{AppName, Digest, Sha256, VersionId};
use devanture_site::negotiate::Coding;
use devanture_site::rules::CompiledRules;
use http::{HeaderMap, HeaderValue};

use devanture_base::telemetry::{RequestMetrics, Tally};
use devanture_http as engine;
use devanture_store::blobs::{DeltaInfo, ReadAt};
use devanture_store::records::Reach;

/// The bytes of a representation.
#[derive(Clone)]
pub enum Source {
    /// Held in memory.
    Memory(Bytes),
    /// Read from the store as it is sent: what of the file begins there. Short encodings of one file share one.
    Stored(Arc<dyn ReadAt>, u64),
}

/// One encoding of one file, ready to be sent.
pub struct Representation {
    /// The fields of its answers.
    pub head: PreparedHead,
    /// Its bytes.
    pub bytes: Source,
}

impl Representation {
    /// Its encoding.
    #[inline]
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.head.coding()
    }

    /// Its length in bytes.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.length()
    }
}

/// The hash of an import map that was put into a page, as a `Content-Security-Policy` names it.
#[derive(Debug, Clone)]
pub struct MapHash(pub Box<str>);

/// One file of a version. There may be a hundred thousand of them, and so what few have is boxed.
pub struct ServedFile {
    /// Its path in the bundle.
    pub path: Box<str>,
    /// Its media type, as the head says it.
    pub content_type: Arc<CommonField>,
    /// Whether its name is a fingerprint of its content.
    pub fingerprinted: bool,
    /// Whether it is a page or a service worker, which must not be kept for long.
    pub is_page: bool,
    /// Of the import map that was put into it.
    pub map_hash: Option<Box<MapHash>>,
    /// How many representations can be chosen from by their encodings.
    choices: u8,
    /// The encodings, the identity first; after those that can be chosen from, deltas.
    pub representations: Box<[Representation]>,
    /// Its dictionaries and deltas.
    pub dictionaries: Option<Box<FileDictionaries>>,
}

impl ServedFile {
    /// The variants that can be chosen from: encoding and length, in the order of `representations`.
    #[inline]
    pub fn available(&self) -> impl ExactSizeIterator<Item = (Coding, u64)> + Clone {
        let choices = self.representations.get(..usize::from(self.choices)).unwrap_or_default();
        choices.iter().map(|representation| (representation.coding(), representation.size()))
    }
}

/// A pool of backends that routes and rewrites lead to.
pub struct ServedUpstream {
    /// Its name below `[upstreams]`, or the address that routes lead to.
    pub name: String,
    /// Its settings.
    pub declared: Upstream,
}

/// A path that goes to a backend.
pub struct ServedRoute {
    /// Its settings.
    pub declared: Route,
    /// The number of its pool.
    pub upstream: usize,
}

/// Where a version is served, as far as its heads depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// An environment.
    Environment,
    /// An alias, or a version's own hostname: `X-Robots-Tag` keeps search engines away.
    Preview,
}

/// Which files of a version are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residency {
    /// All that are short enough.
    Full,
    /// Fewer, for want of room when it was loaded ahead of requests: it may be loaded again once it is requested.
    Lean,
}

/// A version ready to serve in one place; dereferences to its content, which other places may share.
pub struct Version {
    /// A number that no other loaded version ever has.
    pub serial: u64,
    /// The environment or alias that it was loaded for; `preview` for a version's own hostname.
    pub place: String,
    /// `/.well-known/devanture/release.json`.
    pub release: Bytes,
    /// Its counters.
    pub metrics: RequestMetrics,
    /// The counts of the place that it was loaded for, of whichever version answers there.
    pub tally: Tally,
    /// The visitors of its app.
    pub traffic: Arc<Traffic>,
    /// The deltas that its visitors lack.
    misses: DictionaryMisses,
    /// The dictionaries that its visitors may have, in order.
    dictionaries: Box<[Digest]>,
    content: Arc<Content>,
    _charge: Charge,
}

/// The content of a version, in all places with the same merged settings.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub struct Content {
    /// Its id.
    pub id: VersionId,
    /// Its app.
    pub app: AppName,
    /// The format of its manifest.
    pub format: u32,
    /// Whether it is served as a preview.
    pub setting: Setting,
    /// Path to file.
    pub indexes: Arc<Indexes>,
    /// The files, by the numbers of the index.
    pub files: Box<[ServedFile]>,
    /// Which of the files are held in memory.
    residency: Residency,
    /// Files that are left out, as their stored bytes are damaged or missing: they have no representations.
    pub damaged: Box<[DamagedFile]>,
    /// What today's checks refuse of its manifest, which an earlier release took: its pools and routes that are bad
    /// answer nothing but 502, and all else is served.
    pub mistake: Option<Box<str>>,
    /// Pages with hashes that are missing, in whose place are those of the bundle, without a policy.
    pub lost_pages: Box<[Digest]>,
    /// The dictionary that its pages share, with its number among the files: no path leads to it.
    pub pages: Option<(Sha256, u32)>,
    /// Origins whose pages may use the backends.
    pub cors: Vec<HeaderValue>,
    /// `html_handling`.
    pub html_handling: HtmlHandling,
    /// `not_found`.
    pub not_found: NotFound,
    /// Seconds without a request after which a visitor is no longer held on it; `None` where nobody is.
    pub pin_idle_s: Option<u32>,
    /// Whether `release.json` tells where the bundle came from.
    pub public_source: bool,
    /// `status_page`.
    pub status_page: bool,
    /// Whether browsers report what its pages load without a hash.
    pub takes_reports: bool,
    /// Paths that go to backends, the longest first.
    pub routes: Vec<ServedRoute>,
    /// Redirects, rewrites, fields, access.
    pub rules: CompiledRules,
    /// Pools that routes and rewrites lead to.
    pub upstreams: Vec<ServedUpstream>,
    /// The backend that came with it, which the edge runs itself.
    pub managed: Option<Arc<Managed>>,
    /// Which addresses its routes may reach.
    pub reach: Reach,
    /// Whether an admin of every app stored it, so that its backend may run as the edge's own user.
    pub edge_admin: bool,
    /// When it was stored, in milliseconds since 1970 UTC.
    pub stored_ms: u64,
    /// The header `devanture-version`.
    pub header: VersionField,
    /// Smoke checks before it goes live in its place.
    pub smoke: Vec<SmokeCheck>,
    /// The head of its plain 404.
    miss: head::MissHead,
    /// Its memory, without the bytes of files.
    charge: Arc<Charge>,
}

/// How many of a file's representations can be chosen from, before its deltas are added to them.
fn choices_of(representations: &[Representation]) -> u8 {
    u8::try_from(representations.len()).unwrap_or(u8::MAX)
}

fn bytes_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Deref for Version {
    type Target = Content;

    #[inline]
    fn deref(&self) -> &Content {
        &self.content
    }
}

impl Version {
    /// Its content, if no other version shares it.
    #[cfg(any(test, feature = "testing"))]
    pub fn content_mut(&mut self) -> Option<&mut Content> {
        Arc::get_mut(&mut self.content)
    }

    /// Whether it leads to backends, its own or others.
    pub(crate) fn has_backends(&self) -> bool {
        !self.upstreams.is_empty() || self.managed.is_some()
    }

    /// Notes that a visitor who has the dictionary `sha256` would have had a delta of `blob`.
    pub(crate) fn report_miss(&self, blob: Digest, sha256: Sha256) {
        let environment = match self.setting {
            Setting::Environment => self.place.parse().ok(),
            Setting::Preview => None,
        };
        self.misses.report(DictionaryMiss { app: self.app.clone(), environment, version: self.id, blob, sha256 });
    }

    /// The numbers of a file's representations that were made with a dictionary, if visitors of this place may have it.
    pub fn deltas(&self, file: &FileDictionaries, sha256: Sha256) -> impl Iterator<Item = usize> + Clone {
        let may_have = |dictionary: &Digest| self.dictionaries.binary_search(dictionary).is_ok();
        file.deltas(sha256).filter(move |(dictionary, _)| may_have(dictionary)).map(|(_, number)| number)
    }

    /// Whether the file at `path` has that delta at hand.
    #[must_use]
    pub fn has_delta(&self, path: &str, delta: &DeltaInfo) -> bool {
        let file = self.indexes.paths.exact(path).and_then(|number| self.file(number));
        let Some((file, dictionaries)) = file.and_then(|file| Some((file, file.dictionaries.as_deref()?))) else {
            return false;
        };
        let mut found = self.deltas(dictionaries, delta.sha256).filter_map(|number| file.representations.get(number));
        found.any(|representation| representation.size() == delta.size)
    }
}

impl Content {
    /// The file with that number of the index.
    #[must_use]
    pub fn file(&self, number: u32) -> Option<&ServedFile> {
        self.files.get(usize::try_from(number).ok()?)
    }

    /// Whether files are read from the disk that may be held in memory now that somebody requests it.
    #[must_use]
    pub fn is_lean(&self) -> bool {
        self.residency == Residency::Lean
    }

    /// The head of its plain 404, for the engine; `make` says at the first one which fields it has.
    pub(crate) fn miss_ready(&self, make: impl FnOnce() -> HeaderMap) -> &Arc<engine::PreparedHead> {
        self.miss.get_or_make(&self.header, make)
    }

    /// Its memory, without the bytes of files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.charge.bytes().saturating_add(self.indexes.bytes())
    }

    /// The number of the pool with a member at `to`, if the environment has one there.
    #[must_use]
    pub fn upstream(&self, to: &UpstreamUrl) -> Option<usize> {
        self.upstreams.iter().position(|upstream| upstream.declared.to.contains(to))
    }

    /// The number of the route that `path` belongs to: as `site::target::normalise_for_route` gives it, decoded but for
    /// encoded slashes, so that neither an encoded letter avoids a route nor `%2f` makes a segment of its own (law 9).
    #[must_use]
    pub fn route(&self, path: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.declared.path.takes(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version may have a hundred thousand files in four encodings, nearly all of which nobody requests in a while.
    #[test]
    fn a_file_that_nobody_requests_takes_little_memory() {
        assert!(size_of::<ServedFile>() <= 64, "{}", size_of::<ServedFile>());
        assert!(size_of::<Representation>() <= 80, "{}", size_of::<Representation>());
    }
}
