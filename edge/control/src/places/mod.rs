//! Apps and environments: creation within the limits, locks, the list of apps, reserved names.
//!
//! A record of `app/NAME` creates an app; any record below the keys of an environment creates the environment.

mod admin_host;
mod apps;
mod counts;
mod in_live;
mod lock;
mod making;
mod marker;
mod reserved;

use std::sync::Arc;

use devanture_config::api::Urls;
use devanture_config::edge_toml::Names;
use devanture_config::{AppName, PlaceName, VersionId};
use tokio::sync::Mutex;

use crate::ledger::Ledger;

pub(crate) use counts::check_count;
pub(crate) use in_live::FoundInLive;
pub(crate) use lock::{Gate, LockTreatment, locked_by};
pub(crate) use making::{check_may_be_live, size};
pub(crate) use marker::MarkerChange;
pub(crate) use reserved::admin_hostname;
pub use reserved::clashing_names;

/// Name of the environment with the settings of all previews.
pub(crate) const PREVIEW: &str = "preview";
/// Maximum number of upstreams, or processes, of an environment with remembered changes by the API. Above this number,
/// only changes to upstreams and processes of the live version are remembered.
pub(crate) const REMEMBERED_MAX: usize = 200;

/// Apps and environments of the edge.
pub struct Places {
    pub(crate) ledger: Arc<Ledger>,
    /// Names reserved from new apps.
    pub(crate) names: Names,
    /// Serializes the creation of apps, environments and aliases: two concurrent creations must not both take the last
    /// place below a limit.
    pub(crate) making: Mutex<()>,
}

impl Places {
    pub(crate) fn new(ledger: Arc<Ledger>, names: Names) -> Self {
        Self { ledger, names, making: Mutex::default() }
    }

    /// Returns the addresses of an environment and of a version of the app.
    #[must_use]
    pub fn urls(&self, app: &AppName, environment: &PlaceName, version: &VersionId) -> Urls {
        let domains = self.ledger.live.domains();
        Urls {
            live: domains.url(&domains.place_host(app, environment)),
            preview: domains.url(&domains.preview_host(app, version)),
            alias: None,
        }
    }
}
