//! Which apps and environments there are: making them within the limits, locks, the list of apps, reserved names.
//!
//! A record of `app/NAME` makes an app; anything below an environment's keys makes the environment.

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
pub(crate) use lock::{Gate, Passage, locked_by};
pub(crate) use making::{check_may_be_live, size};
pub(crate) use marker::MarkerChange;
pub(crate) use reserved::admin_hostname;
pub use reserved::clashing_names;

/// The name of the environment that has the settings of all previews.
pub(crate) const PREVIEW: &str = "preview";
/// Upstreams, and processes, of one environment whose changes by the API are remembered; beyond this number, only those
/// of the live version are.
pub(crate) const REMEMBERED_MAX: usize = 200;

/// The apps and environments of the edge.
pub struct Places {
    pub(crate) ledger: Arc<Ledger>,
    /// Names that no new app may have.
    pub(crate) names: Names,
    /// Apps, environments and aliases are made one at a time, so that no two of them are the last one of a limit.
    pub(crate) making: Mutex<()>,
}

impl Places {
    pub(crate) fn new(ledger: Arc<Ledger>, names: Names) -> Self {
        Self { ledger, names, making: Mutex::default() }
    }

    /// Addresses of an environment and of a version of its app.
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
