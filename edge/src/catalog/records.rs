//! The records of the catalog: their keys and their values. `docs/storage.md` is the reference.

use std::collections::{BTreeMap, BTreeSet};

use devanture_config::api::{AccountName, CanaryPlan, CookieName, Deploy, Percent, Scope, Source};
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Canonical, Digest, HostPattern, PlaceName, Sha256, VersionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::halves_begun::HalvesBegun;
use super::integrity_pages::IntegrityPages;
pub use super::pinned::PinsRecord;
pub use super::team::{ALIASES_PREFIX, AliasRecord, alias_key, alias_prefix, lock_key};
use super::{Error, Record};
use crate::blobs::Form;

/// `apps/{app}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// The name of the token that made it.
    pub who: String,
}

/// `versions/{app}/{id}`: a stored version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRecord {
    /// When it was stored, in milliseconds since 1970 UTC.
    pub stored_ms: u64,
    /// The name of the token that stored it.
    pub who: String,
    /// Whether that token had the scope `admin` for every environment: the version's routes may point to private
    /// addresses, and its hostnames need no proof.
    pub trusted: bool,
    /// Whether that token was an admin's of every app: its backend may run as the edge's own user. Versions that were
    /// stored before there was this member say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_admin: Option<bool>,
    /// The environments whose own admins stored it: it is trusted there and nowhere else.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted_in: BTreeSet<PlaceName>,
    /// Where the bundle came from.
    pub source: Source,
    /// Files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Files that came with encodings of themselves beside them, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given: BTreeMap<BundlePath, Vec<Form>>,
    /// Decoded content of files that came compressed without their plain file, by the path of the latter; `given` has
    /// their forms.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Pages with the hashes of what they load, for the environments that want them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub integrity: Vec<IntegrityPages>,
}

/// A plain file that is in no manifest: its compressed form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodedFile {
    /// The blob.
    pub hash: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl VersionRecord {
    /// Whether an admin of every app stored it.
    #[must_use]
    pub fn is_of_edge_admin(&self) -> bool {
        self.edge_admin.unwrap_or(self.trusted)
    }

    /// Whether an admin of this environment stored it; `preview` stands for aliases and versions at their own
    /// hostnames.
    #[must_use]
    pub fn is_trusted_in(&self, place: &str) -> bool {
        self.trusted || self.trusted_in.iter().any(|environment| environment.as_str() == place)
    }
}

/// `dictionaries/{app}/{id}`: what of a stored version serves as dictionaries (RFC 9842). It stands beside the
/// manifest, so that the id of a version depends on none of it, and goes with the version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DictionariesRecord {
    /// The SHA-256 of those of its files that anyone may read and that may serve, by their BLAKE3.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<Digest, Sha256>,
    /// The dictionaries that deltas of its files were made with, by the environment whose visitors have them: its own
    /// files, and those of versions that were live there. Previews have those of `preview`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deltas_from: BTreeMap<PlaceName, BTreeSet<Digest>>,
    /// Files under names that could change, which browsers keep for no longer than a load: pages offer them to be
    /// fetched as dictionaries, in this order. Their paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked: Vec<BundlePath>,
    /// The dictionary that its pages share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<PagesDictionary>,
    /// The paths of the pages that it was made of: once one of them may not be read by anyone, it serves no more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pages_of: BTreeSet<BundlePath>,
}

impl DictionariesRecord {
    /// Whether a file of the version itself, or what its pages share, is this dictionary.
    #[must_use]
    pub fn is_own(&self, dictionary: &Digest) -> bool {
        self.files.contains_key(dictionary) || self.pages.is_some_and(|pages| pages.blob == *dictionary)
    }

    /// The dictionaries that deltas were made with, of all environments.
    pub fn all_from(&self) -> impl Iterator<Item = &Digest> {
        self.deltas_from.values().flatten()
    }

    /// The dictionaries that deltas may be sent for in an environment, or in a preview where that is `None`. A
    /// dictionary of another environment must not show: a delta confirms the guess at a content that was never live
    /// here.
    #[must_use]
    pub fn from_in(&self, environment: Option<&PlaceName>) -> BTreeSet<Digest> {
        let of_environment = environment.and_then(|environment| self.deltas_from.get(environment));
        let own = self.all_from().filter(|dictionary| self.is_own(dictionary));
        own.chain(of_environment.into_iter().flatten()).copied().collect()
    }

    /// Adds dictionaries that visitors of an environment have.
    pub fn add_from(&mut self, environment: &PlaceName, dictionaries: impl IntoIterator<Item = Digest>) {
        let mut dictionaries = dictionaries.into_iter().peekable();
        if dictionaries.peek().is_some() {
            self.deltas_from.entry(environment.clone()).or_default().extend(dictionaries);
        }
    }
}

/// A dictionary that is made of pages that anyone may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagesDictionary {
    /// Its blob, which the record holds.
    pub blob: Digest,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub size: u64,
}

/// Records of dictionaries that are read at once: one may have some megabytes.
pub const DICTIONARIES_AT_ONCE: usize = 16;

/// The prefix of all dictionaries.
pub const DICTIONARIES_PREFIX: &str = "dictionaries/";

/// The prefix of an app's dictionaries.
#[must_use]
pub fn dictionaries_prefix(app: &AppName) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/")
}

/// The key of what of a version serves as dictionaries.
#[must_use]
pub fn dictionaries_key(app: &AppName, version: &VersionId) -> String {
    format!("{DICTIONARIES_PREFIX}{app}/{version}")
}

/// `live/{app}/{env}`: what is live in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePointer {
    /// The version.
    pub version: VersionId,
    /// The revision of the environment's settings that it is served with.
    pub settings: u64,
    /// When it went live, in milliseconds since 1970 UTC; never less than that of the pointer it replaced.
    pub switched_ms: u64,
    /// The deploy that made it live.
    pub deploy: String,
    /// When the push of this version began, as [`super::super::publish`] numbers pushes: an older push does not take
    /// over from it.
    pub begun: u64,
    /// The entry of the history that going back starts from.
    pub position: String,
    /// When the pushes of its halves began, if they came from different pushes; else `begun` is that of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halves_begun: Option<HalvesBegun>,
    /// The version that a share of the visitors gets instead. Releases that do not know it serve all of them the live
    /// version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryRecord>,
    /// What holds visitors on the version of their first page; `None` where the live version holds nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pins: Option<PinsRecord>,
}

/// The part of a live pointer that a canary is: what begins, steps and ends it is a commit of the pointer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRecord {
    /// The version.
    pub version: VersionId,
    /// The share of the visitors.
    pub share: Percent,
    /// The deploy that began it, by which visitors are drawn.
    pub deploy: String,
    /// When it began, in milliseconds since 1970 UTC.
    pub since_ms: u64,
    /// When it last got another share, in milliseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stepped_ms: Option<u64>,
    /// Who began it.
    pub who: String,
    /// The cookie that tells visitors apart, where it is the site's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieName>,
    /// The steps that it takes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<CanaryPlan>,
    /// When it takes the next one, in milliseconds since 1970 UTC; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

impl CanaryRecord {
    /// The `Last-Modified` of its version, in milliseconds since 1970 UTC: visitors who come from the live version have
    /// an earlier one.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.stepped_ms.unwrap_or(self.since_ms)
    }
}

impl LivePointer {
    /// The latest `Last-Modified` that visitors have, in milliseconds since 1970 UTC.
    #[must_use]
    pub fn last_modified_ms(&self) -> u64 {
        self.canary.as_ref().map_or(self.switched_ms, |canary| canary.last_modified_ms().max(self.switched_ms))
    }

    /// The versions that visitors get.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        std::iter::once(self.version).chain(self.canary.iter().map(|canary| canary.version))
    }

    /// When the pushes of its halves began.
    #[must_use]
    pub fn halves(&self) -> HalvesBegun {
        self.halves_begun.unwrap_or_else(|| HalvesBegun::both(self.begun))
    }

    /// Whether it says what is live. It does not if the record and all of the history are damaged.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !self.deploy.is_empty()
    }
}

/// `history/{app}/{env}/{number}`: a deploy that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The deploy.
    pub deploy: Deploy,
    /// Where a rollback that comes after this entry starts from: the entry itself, or the one that it went back to.
    pub position: String,
}

/// `hostnames/{host}`: a hostname of an environment's own, or a wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostnameRecord {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// When the environment got it, in milliseconds since 1970 UTC.
    #[serde(default)]
    pub added_ms: u64,
    /// Whether the API added it, and not the manifest of a version that went live.
    #[serde(default)]
    pub by_api: bool,
    /// Whether the API said that the others lead to it.
    #[serde(default)]
    pub canonical: bool,
    /// The name of the token that added it.
    #[serde(default)]
    pub who: String,
}

impl HostnameRecord {
    /// Whether it is that environment's.
    #[must_use]
    pub fn is_of(&self, app: &AppName, environment: &PlaceName) -> bool {
        self.app == *app && self.environment == *environment
    }
}

/// `listed/{app}/{env}`: what the manifest of the version that went live last says of the environment's hostnames.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedHostnames {
    /// The names, in its order.
    pub hostnames: Vec<HostPattern>,
    /// The canonical hostname, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
}

/// `secrets/{use}`: what proofs of hostnames, or challenges for passkeys, are made with.
#[derive(Clone, Serialize, Deserialize)]
pub struct ProofSecret {
    /// 32 random bytes in hex.
    pub key: String,
}

/// The key of the [`ProofSecret`] of challenges.
pub const CHALLENGE_SECRET_KEY: &str = "secrets/challenges";

/// The key of the [`ProofSecret`] of hostnames.
pub const PROOF_SECRET_KEY: &str = "secrets/hostname-proof";

/// `withdrawn/{app}`: paths that no version stored until then answers any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnRecord {
    /// By the path, decoded and in its normal form, with its leading slash.
    pub paths: BTreeMap<String, WithdrawnEntry>,
}

/// One path of a [`WithdrawnRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawnEntry {
    /// When, in milliseconds since 1970 UTC; never less than a version of that moment was stored at.
    pub at_ms: u64,
    /// The name of the token that withdrew it.
    pub who: String,
}

/// `tokens/{id}`: a token, as its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The BLAKE3 of its secret part; the secret is 256 random bits, so that no slow hash is needed.
    pub hash: Digest,
    /// Its name in the history.
    pub name: String,
    /// For this app alone.
    pub app: Option<AppName>,
    /// For this environment alone.
    pub environment: Option<PlaceName>,
    /// Its scope.
    pub scope: Scope,
    /// When it was made, in milliseconds since 1970 UTC.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: Option<u64>,
    /// Its creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// The account that it ends with, where it outlives the session that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<TokenAccount>,
}

/// The account that a token ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenAccount {
    /// Its name.
    pub name: AccountName,
    /// Its id: an account of the same name that is made later is another one.
    pub id: String,
}

/// The prefix of all apps.
pub const APPS_PREFIX: &str = "apps/";

/// The prefix of live pointers.
pub const LIVE_PREFIX: &str = "live/";

/// The prefix of stored versions.
pub const VERSIONS_PREFIX: &str = "versions/";

/// The key of an app's record.
#[must_use]
pub fn app_key(app: &AppName) -> String {
    format!("apps/{app}")
}

/// The prefix of an app's versions.
#[must_use]
pub fn versions_prefix(app: &AppName) -> String {
    format!("{VERSIONS_PREFIX}{app}/")
}

/// The key of a version's record.
#[must_use]
pub fn version_key(app: &AppName, id: &VersionId) -> String {
    format!("{VERSIONS_PREFIX}{app}/{id}")
}

/// The key of a live pointer.
#[must_use]
pub fn live_key(app: &AppName, environment: &PlaceName) -> String {
    format!("{LIVE_PREFIX}{app}/{environment}")
}

/// The prefix of an app's live pointers.
#[must_use]
pub fn live_prefix(app: &AppName) -> String {
    format!("{LIVE_PREFIX}{app}/")
}

/// The prefix of the histories of an app's environments.
#[must_use]
pub fn histories_prefix(app: &AppName) -> String {
    format!("history/{app}/")
}

/// The prefix of an environment's history.
#[must_use]
pub fn history_prefix(app: &AppName, environment: &PlaceName) -> String {
    format!("history/{app}/{environment}/")
}

/// The key of an entry of the history; `number` grows from entry to entry.
#[must_use]
pub fn history_key(app: &AppName, environment: &PlaceName, number: u64) -> String {
    format!("history/{app}/{environment}/{number:016}")
}

/// The key of an environment's pause; its value is a `Pause` of the API.
#[must_use]
pub fn paused_key(app: &AppName, environment: &PlaceName) -> String {
    format!("paused/{app}/{environment}")
}

/// The key of what was withdrawn of an app.
#[must_use]
pub fn withdrawn_key(app: &AppName) -> String {
    format!("withdrawn/{app}")
}

/// The key of a hostname.
#[must_use]
pub fn hostname_key(host: &HostPattern) -> String {
    format!("{HOSTNAMES_PREFIX}{host}")
}

/// The prefix of all hostnames.
pub const HOSTNAMES_PREFIX: &str = "hostnames/";

/// The key of what the live manifest lists.
#[must_use]
pub fn listed_key(app: &AppName, environment: &PlaceName) -> String {
    format!("listed/{app}/{environment}")
}

/// The key of a token.
#[must_use]
pub fn token_key(id: &str) -> String {
    format!("{TOKENS_PREFIX}{id}")
}

/// The prefix of all tokens.
pub const TOKENS_PREFIX: &str = "tokens/";

/// A record's value, read.
///
/// # Errors
/// [`Error::Store`] where the value is not what its key promises.
pub fn read<T: DeserializeOwned>(key: &str, record: &Record) -> Result<T, Error> {
    serde_json::from_slice(&record.value)
        .map_err(|error| Error::Store(format!("the record {key} cannot be read: {error}")))
}

/// Whose a hostname is; `None`, and an error in the log, if the record is damaged: it costs that hostname alone.
#[must_use]
pub fn hostname(key: &str, record: &Record) -> Option<HostnameRecord> {
    read(key, record).inspect_err(|error| tracing::error!(%error, "a hostname is passed over")).ok()
}

/// An entry of a history; `None`, and an error in the log, if it is damaged: it costs nothing but itself.
#[must_use]
pub fn entry(key: &str, record: &Record) -> Option<HistoryEntry> {
    read(key, record).inspect_err(|error| tracing::error!(%error, "an entry of a history is passed over")).ok()
}

/// A value, written.
///
/// # Errors
/// [`Error::Store`]; none of the types above can fail.
pub fn write<T: Serialize>(value: &T) -> Result<std::sync::Arc<[u8]>, Error> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::Store(format!("a record cannot be written: {error}")))?;
    Ok(bytes.into())
}
