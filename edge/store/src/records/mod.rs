//! The records of the catalog: the type of the value at each key. `docs/storage.md` is the reference.
//!
//! A value is written and read as JSON, and a release reads the records of the previous release. The types of values
//! belong to this module alone: `api` and `words` convert between values of the API and values of records. Records
//! contain no types of the API except names, and numbers with a text form of their own.

mod api;
mod apps;
pub mod belongs;
pub mod console;
mod deploys;
mod dictionaries;
pub mod follow;
#[cfg(any(test, feature = "testing"))]
pub mod golden;
pub mod gone;
pub mod halves_begun;
pub mod history;
mod hostnames;
pub mod identities;
pub mod instances;
pub mod integrity_pages;
mod levels;
mod live;
mod made_files;
pub mod nodes;
mod pinned;
pub mod pointer;
pub mod protection;
pub mod schedules;
pub mod sent;
pub mod sessions;
pub mod settings;
pub mod signing;
pub mod table;
mod team;
mod tokens;
pub mod upstreams;
mod values;
pub mod webhooks;
mod words;

pub use apps::{
    APPS_PREFIX, AppRecord, DecodedFile, Reach, VERSIONS_PREFIX, VersionRecord, WithdrawnEntry, WithdrawnRecord,
    app_key, version_key, versions_prefix, withdrawn_key,
};
pub use deploys::{
    HistoryEntry, StoredDeploy, StoredProblem, StoredSource, StoredStep, entry, histories_prefix, history_key,
    history_prefix,
};
pub use dictionaries::{
    DICTIONARIES_AT_ONCE, DICTIONARIES_PREFIX, DictionariesRecord, PagesDictionary, dictionaries_key,
    dictionaries_prefix,
};
pub use hostnames::{HOSTNAMES_PREFIX, HostnameRecord, ListedHostnames, hostname, hostname_key, listed_key};
pub use levels::Levels;
pub use live::{BegunWith, CanaryRecord, LivePointer, PauseRecord, StoredPlan, live_key, live_prefix, paused_key};
pub use made_files::{made_files, pages_dictionary};
pub use pinned::PinsRecord;
pub use team::{ALIASES_PREFIX, AliasRecord, LockRecord, alias_key, alias_prefix, lock_key};
pub use tokens::{
    CHALLENGE_SECRET_KEY, PROOF_SECRET_KEY, ProofSecret, TOKENS_PREFIX, TokenAccount, TokenRecord, token_key,
};
pub use values::{read, write};
pub use words::{
    StoredAction, StoredBy, StoredDelivery, StoredDesired, StoredEvent, StoredFormat, StoredKind, StoredOutcome,
    StoredProtection, StoredRunOutcome, StoredScope, StoredSkipReason, StoredStepState, StoredVia,
};

pub use crate::catalog::LIVE_PREFIX;

/// The number of the record format that this code writes. A format that an earlier release cannot read gets a new
/// number, so that the earlier release does not take over.
pub const FORMAT: u32 = 1;
