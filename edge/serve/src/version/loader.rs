//! Inputs of the load of a version: the request, the stores, the available encodings, and the errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::Serving;
use devanture_config::{AppName, Digest, Manifest, VersionId};
use devanture_site::negotiate::Coding;
use http::HeaderValue;
use parking_lot::Mutex;

use super::deltas::DictionaryFields;
use super::field_list::FieldPool;
use super::prefetch::Prefetched;
use super::{AppMemory, Claim, Fill, OverMemory, RuleFileError, RuleReader, Setting, Version};
use devanture_store::blobs::{self, Blobs, Form, Key};
use devanture_store::records::integrity_pages::IntegrityPages;
use devanture_store::records::{DecodedFile, DictionariesRecord, Levels, Reach};

/// Reason that a version cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Blobs(#[from] blobs::Error),
    /// The rules or the paths could not be compiled.
    #[error("the rules or the paths could not be compiled")]
    Panicked,
    /// The stored manifest cannot be read.
    #[error("the stored manifest cannot be read: {0}")]
    Manifest(#[from] devanture_config::manifest::BadManifest),
    /// The length of the stored bytes differs from the length that the response heads would announce.
    #[error("{key} has {found} bytes, and {announced} would be announced for it")]
    Size {
        /// The key of the bytes in the store.
        key: Key,
        /// The length in the manifest or the list of variants.
        announced: u64,
        /// The length of the stored bytes.
        found: u64,
    },
    /// A rule file cannot be read.
    #[error(transparent)]
    RuleFile(#[from] RuleFileError),
    /// The version does not fit into the memory budget of the app.
    #[error(transparent)]
    OverMemory(#[from] OverMemory),
}

/// The version to load.
pub struct LoadRequest {
    /// The app.
    pub app: AppName,
    /// The version.
    pub id: VersionId,
    /// The manifest.
    pub manifest: Arc<Manifest>,
    /// The settings of the manifest, merged for the place.
    pub serving: Serving,
    /// The kind of place: environment or preview.
    pub setting: Setting,
    /// Siblings that are encodings of a file, by the file's path.
    pub given: BTreeMap<BundlePath, Vec<Form>>,
    /// Plain files of siblings uploaded alone, by their path.
    pub decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Pages with integrity hashes, if the place wants the hashes.
    pub integrity: IntegrityPages,
    /// Compression levels at which the files are served.
    pub(crate) levels: Levels,
    /// Addresses that the version may reach.
    pub reach: Reach,
    /// True if an admin of every app stored the version.
    pub edge_admin: bool,
    /// The time of storing.
    pub stored_ms: u64,
    /// Files that serve as dictionaries; `None` if dictionaries are off.
    pub dictionaries: Option<DictionariesRecord>,
    /// Seconds for which browsers keep a fetched dictionary.
    pub dictionary_seconds: u64,
    /// Longest file held in memory.
    pub memory_file_bytes_max: u64,
    /// Maximum rules; further rules are left out.
    pub rules_max: usize,
    /// The reader of the rules, for fair turns.
    pub rule_reader: RuleReader,
    /// The memory budget of the app, and the versions that may be evicted for the load.
    pub memory: (Arc<AppMemory>, Claim),
    /// Share of the memory for files that the version's files may fill.
    pub fill: Fill,
    /// An earlier load of the same version, with the facts about its files.
    pub known: Option<Arc<Version>>,
    /// True if damaged or missing files are left out; otherwise such files fail the load.
    pub leaves_out_damaged: bool,
    /// Refusal of the manifest by today's checks.
    pub mistake: Option<Box<str>>,
}

/// The load of one version.
pub(super) struct Loader<'l> {
    pub(super) blobs: &'l dyn Blobs,
    pub(super) memory: &'l Arc<AppMemory>,
    pub(super) request: &'l LoadRequest,
    /// Files of the bundle that are encodings of other files.
    pub(super) siblings: BTreeMap<BundlePath, FileEntry>,
    pub(super) fields: &'l FieldPool,
    pub(super) dictionary_fields: &'l DictionaryFields,
    pub(super) prefetched: Mutex<Prefetched>,
    /// True if opened files of the earlier load are reused. With any damage, all files are checked again.
    pub(super) takes_over: bool,
}

/// An available encoding: coding, length, hash, and key in the store.
pub(super) struct AtHand {
    pub(super) coding: Coding,
    pub(super) size: u64,
    pub(super) hash: Digest,
    pub(super) key: Key,
}

/// A header value of checked text; text that is no valid value becomes empty.
pub(super) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
