//! A manifest prepared for serving: the path index, the merged settings, and the response head of every encoding of
//! every file. Built once when a version is loaded, and immutable afterwards.
//!
//! Nearly all of the data is [`Content`], shared by all places with the same merged settings; a [`Version`] is a
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
pub use place::PlaceContext;
pub use rule_files::{RuleFileError, RuleFiles};
pub use rule_memory::{RuleMemory, RuleReader};
pub(crate) use traffic::SendTurn;
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
    /// Read from the store while being sent: the file, and the offset of the content. Short encodings of one file share
    /// a file.
    Stored(Arc<dyn ReadAt>, u64),
}

/// One encoding of one file, ready to be sent.
pub struct Representation {
    /// The fields of the responses.
    pub head: PreparedHead,
    /// The bytes.
    pub bytes: Source,
}

impl Representation {
    /// The encoding.
    #[inline]
    #[must_use]
    pub const fn coding(&self) -> Coding {
        self.head.coding()
    }

    /// The length in bytes.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.length()
    }
}

/// Hash of an import map inserted into a page, in the form of a `Content-Security-Policy` source.
#[derive(Debug, Clone)]
pub struct MapHash(pub Box<str>);

/// One file of a version. A version may have a hundred thousand files, so rare data is boxed.
pub struct ServedFile {
    /// The path in the bundle.
    pub path: Box<str>,
    /// The media type, as in the head.
    pub content_type: Arc<CommonField>,
    /// True if the name contains a fingerprint of the content.
    pub fingerprinted: bool,
    /// True if the file is a page or a service worker, which must not be cached for long.
    pub is_page: bool,
    /// Hash of the import map inserted into the page.
    pub map_hash: Option<Box<MapHash>>,
    /// Number of representations selectable by `Accept-Encoding`.
    choices: u8,
    /// The encodings, identity first; deltas follow the selectable ones.
    pub representations: Box<[Representation]>,
    /// Dictionaries and deltas.
    pub dictionaries: Option<Box<FileDictionaries>>,
}

impl ServedFile {
    /// The selectable variants: encoding and length, in the order of `representations`.
    #[inline]
    pub fn available(&self) -> impl ExactSizeIterator<Item = (Coding, u64)> + Clone {
        let choices = self.representations.get(..usize::from(self.choices)).unwrap_or_default();
        choices.iter().map(|representation| (representation.coding(), representation.size()))
    }
}

/// A pool of backends that routes and rewrites lead to.
pub struct ServedUpstream {
    /// The name below `[upstreams]`, or the address of a route.
    pub name: String,
    /// The settings.
    pub declared: Upstream,
}

/// A path that leads to a backend.
pub struct ServedRoute {
    /// The settings.
    pub declared: Route,
    /// The number of the pool.
    pub upstream: usize,
}

/// Kind of place, as far as response heads depend on the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// An environment.
    Environment,
    /// An alias, or a version's own hostname: `X-Robots-Tag` keeps search engines away.
    Preview,
}

/// Selection of the files held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Residency {
    /// All files that are short enough.
    Full,
    /// Fewer files, for want of memory when loaded ahead of requests: the version may be reloaded once requested.
    Lean,
}

/// A version ready to serve in one place; dereferences to its content, which places may share.
pub struct Version {
    /// Unique number among all loaded versions ever.
    pub serial: u64,
    /// The environment or alias of the load; `preview` for a version's own hostname.
    pub place: String,
    /// `/.well-known/devanture/release.json`.
    pub release: Bytes,
    /// Counters of the version.
    pub metrics: RequestMetrics,
    /// Counters of the place, across versions.
    pub tally: Tally,
    /// Traffic of the app.
    pub traffic: Arc<Traffic>,
    /// Missing deltas of visitors.
    misses: DictionaryMisses,
    /// Dictionaries that the place's visitors may have, in order.
    dictionaries: Box<[Digest]>,
    content: Arc<Content>,
    _charge: Charge,
}

/// The content of a version, in all places with the same merged settings.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub struct Content {
    /// The id.
    pub id: VersionId,
    /// The app.
    pub app: AppName,
    /// The format of the manifest.
    pub format: u32,
    /// The kind of place: environment or preview.
    pub setting: Setting,
    /// Path to file.
    pub indexes: Arc<Indexes>,
    /// The files, by the numbers of the index.
    pub files: Box<[ServedFile]>,
    /// Selection of the files held in memory.
    residency: Residency,
    /// Files left out for damaged or missing stored bytes, without representations.
    pub damaged: Box<[DamagedFile]>,
    /// Refusal of the manifest by today's checks, after acceptance by an earlier release: invalid pools and routes
    /// answer 502, and the rest is served.
    pub mistake: Option<Box<str>>,
    /// Missing pages with hashes; the bundle's pages are served instead, without a policy.
    pub lost_pages: Box<[Digest]>,
    /// The pages' shared dictionary, with its file number: no path leads to the dictionary.
    pub pages: Option<(Sha256, u32)>,
    /// Origins of pages that may use the backends.
    pub cors: Vec<HeaderValue>,
    /// `html_handling`.
    pub html_handling: HtmlHandling,
    /// `not_found`.
    pub not_found: NotFound,
    /// Seconds without a request after which a visitor's pin ends; `None` without pins.
    pub pin_idle_s: Option<u32>,
    /// True if `release.json` names the source of the bundle.
    pub public_source: bool,
    /// `status_page`.
    pub status_page: bool,
    /// True if browsers report resources that pages load without a hash.
    pub takes_reports: bool,
    /// Paths that lead to backends, longest first.
    pub routes: Vec<ServedRoute>,
    /// Redirects, rewrites, fields, access.
    pub rules: CompiledRules,
    /// Pools that routes and rewrites lead to.
    pub upstreams: Vec<ServedUpstream>,
    /// The version's own backend, run by the edge.
    pub managed: Option<Arc<Managed>>,
    /// Addresses that the routes may reach.
    pub reach: Reach,
    /// True if an admin of every app stored the version, so that its backend may run as the edge's own user.
    pub edge_admin: bool,
    /// The time of storing, in milliseconds since 1970 UTC.
    pub stored_ms: u64,
    /// The header `devanture-version`.
    pub header: VersionField,
    /// Smoke checks before going live in the place.
    pub smoke: Vec<SmokeCheck>,
    /// The head of the plain 404.
    miss: head::MissHead,
    /// The memory, without the bytes of files.
    charge: Arc<Charge>,
}

/// The number of a file's selectable representations, before deltas are added.
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
    /// The content, if unshared.
    #[cfg(any(test, feature = "testing"))]
    pub fn content_mut(&mut self) -> Option<&mut Content> {
        Arc::get_mut(&mut self.content)
    }

    /// Returns true if the version leads to backends, of its own or external ones.
    pub(crate) fn has_backends(&self) -> bool {
        !self.upstreams.is_empty() || self.managed.is_some()
    }

    /// Records a missing delta of `blob` for a visitor with the dictionary `sha256`.
    pub(crate) fn report_miss(&self, blob: Digest, sha256: Sha256) {
        let environment = match self.setting {
            Setting::Environment => self.place.parse().ok(),
            Setting::Preview => None,
        };
        self.misses.report(DictionaryMiss { app: self.app.clone(), environment, version: self.id, blob, sha256 });
    }

    /// Numbers of a file's deltas made with a dictionary, if the place's visitors may have the dictionary.
    pub fn deltas(&self, file: &FileDictionaries, sha256: Sha256) -> impl Iterator<Item = usize> + Clone {
        let may_have = |dictionary: &Digest| self.dictionaries.binary_search(dictionary).is_ok();
        file.deltas(sha256).filter(move |(dictionary, _)| may_have(dictionary)).map(|(_, number)| number)
    }

    /// Returns true if the file at `path` has the delta loaded.
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
    /// The file of an index number.
    #[must_use]
    pub fn file(&self, number: u32) -> Option<&ServedFile> {
        self.files.get(usize::try_from(number).ok()?)
    }

    /// Returns true if files are read from the disk that could be in memory for a requested version.
    #[must_use]
    pub fn is_lean(&self) -> bool {
        self.residency == Residency::Lean
    }

    /// The head of the plain 404, for the engine; `make` returns the fields for the first 404.
    pub(crate) fn miss_ready(&self, make: impl FnOnce() -> HeaderMap) -> &Arc<engine::PreparedHead> {
        self.miss.get_or_make(&self.header, make)
    }

    /// The memory, without the bytes of files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.charge.bytes().saturating_add(self.indexes.bytes())
    }

    /// The number of the pool with a member at `to`, if the environment has such a pool.
    #[must_use]
    pub fn upstream(&self, to: &UpstreamUrl) -> Option<usize> {
        self.upstreams.iter().position(|upstream| upstream.declared.to.contains(to))
    }

    /// The number of the route of `path`: as returned by `site::target::normalise_for_route`, decoded except for
    /// encoded slashes, so that an encoded letter cannot avoid a route and `%2f` cannot add a segment (law 9).
    #[must_use]
    pub fn route(&self, path: &str) -> Option<usize> {
        self.routes.iter().position(|route| route.declared.path.takes(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version may have a hundred thousand files in four encodings, nearly all of which are rarely requested.
    #[test]
    fn a_file_that_nobody_requests_takes_little_memory() {
        assert!(size_of::<ServedFile>() <= 64, "{}", size_of::<ServedFile>());
        assert!(size_of::<Representation>() <= 80, "{}", size_of::<Representation>());
    }
}
