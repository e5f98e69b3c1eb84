//! What the load of a version works with: the request, the stores, the encodings that are at hand, and its errors.

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

/// Why a version cannot be loaded.
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
    /// Stored bytes are more or fewer than the heads of their responses would announce.
    #[error("{key} has {found} bytes, and {announced} would be announced for it")]
    Size {
        /// The name of the bytes in the store.
        key: Key,
        /// The length that the manifest, or the list of variants, gives.
        announced: u64,
        /// The length of the stored bytes.
        found: u64,
    },
    /// A file of rules cannot be read.
    #[error(transparent)]
    RuleFile(#[from] RuleFileError),
    /// It does not fit into the memory budget of the app.
    #[error(transparent)]
    OverMemory(#[from] OverMemory),
}

/// The version to load.
pub struct LoadRequest {
    /// The app.
    pub app: AppName,
    /// The version.
    pub id: VersionId,
    /// Its manifest.
    pub manifest: Arc<Manifest>,
    /// The settings of the manifest, merged for where it will be served.
    pub serving: Serving,
    /// Whether it will be a preview.
    pub setting: Setting,
    /// Siblings that are encodings of a file, by the file's path.
    pub given: BTreeMap<BundlePath, Vec<Form>>,
    /// Plain files of siblings that came alone, by their path.
    pub decoded: BTreeMap<BundlePath, DecodedFile>,
    /// Pages with the hashes of what they load, where the place wants them.
    pub integrity: IntegrityPages,
    /// At which level its files are served.
    pub(crate) levels: Levels,
    /// Which addresses it may reach.
    pub reach: Reach,
    /// Whether an admin of every app stored it.
    pub edge_admin: bool,
    /// When it was stored.
    pub stored_ms: u64,
    /// Its files that serve as dictionaries; `None` if dictionaries are off.
    pub dictionaries: Option<DictionariesRecord>,
    /// For how many seconds browsers keep what they fetch as a dictionary.
    pub dictionary_seconds: u64,
    /// Up to what length a file is held in memory.
    pub memory_file_bytes_max: u64,
    /// Most rules; those beyond are left out.
    pub rules_max: usize,
    /// For whom the rules are read.
    pub rule_reader: RuleReader,
    /// The memory budget of the app, and what may be evicted for this load.
    pub memory: (Arc<AppMemory>, Claim),
    /// How much of the memory for files its files may fill.
    pub fill: Fill,
    /// The same version as it was loaded before: what its files are is in it.
    pub known: Option<Arc<Version>>,
    /// Whether files whose bytes are damaged or missing are left out; else they fail the load.
    pub leaves_out_damaged: bool,
    /// What today's checks refuse of the manifest.
    pub mistake: Option<Box<str>>,
}

/// The load of one version.
pub(super) struct Loader<'l> {
    pub(super) blobs: &'l dyn Blobs,
    pub(super) memory: &'l Arc<AppMemory>,
    pub(super) request: &'l LoadRequest,
    /// Files of the bundle that are encodings of others.
    pub(super) siblings: BTreeMap<BundlePath, FileEntry>,
    pub(super) fields: &'l FieldPool,
    pub(super) dictionary_fields: &'l DictionaryFields,
    pub(super) prefetched: Mutex<Prefetched>,
    /// Whether what was opened of the same version before is taken over. Where some of it is damaged, all is looked at
    /// again.
    pub(super) takes_over: bool,
}

/// An encoding that is at hand: which, of what length, of what hash, under which name in the store.
pub(super) struct AtHand {
    pub(super) coding: Coding,
    pub(super) size: u64,
    pub(super) hash: Digest,
    pub(super) key: Key,
}

/// A header value of text that was checked before; what could not stand in a header becomes empty.
pub(super) fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
