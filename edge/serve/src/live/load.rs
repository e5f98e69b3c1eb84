//! What is to be loaded, for which place, and why it cannot be.

use devanture_config::{AppName, PlaceName, VersionId};

use crate::version::{self, Claim, Fill, Setting};
use devanture_store::catalog;

/// Why a version cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Too many requests wait for previews of the app.
    #[error("too many requests wait for previews of the app {app} to be loaded")]
    Busy {
        /// The app.
        app: AppName,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The alias was deleted.
    #[error("the app {app} has no alias {name}")]
    NoAlias {
        /// The app.
        app: AppName,
        /// The alias.
        name: PlaceName,
    },
    /// The app has no such version.
    #[error("the app {app} has no version {id}")]
    Unknown {
        /// The app.
        app: AppName,
        /// The version.
        id: VersionId,
    },
    /// The store failed, or the bytes are not what they say.
    #[error(transparent)]
    Version(#[from] version::Error),
}

/// When a version with a long manifest is loaded, of which few are in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadTurn {
    /// When it is the app's turn: requests and pushes begin as many loads as they like.
    InTurn,
    /// At once: the caller begins one at a time, of all apps, and those of one must not wait for the loads of another.
    AtOnce,
}

/// A version to load, and where it will be served.
#[derive(Clone)]
pub struct Load {
    /// The app.
    pub app: AppName,
    /// The version.
    pub id: VersionId,
    /// The environment or alias, or `preview`.
    pub place: String,
    /// Whether that is an environment or a preview.
    pub setting: Setting,
    /// Previews that may be evicted for it.
    pub claim: Claim,
    /// How much of the memory for files its files may fill.
    pub fill: Fill,
    /// Whether files whose bytes are damaged or missing are left out; else they fail the load.
    pub leaves_out_damaged: bool,
    /// When it is loaded, if its manifest is long.
    pub turn: LoadTurn,
}

impl Load {
    /// A version that goes live in an environment, with all of its files.
    #[must_use]
    pub fn live(app: &AppName, id: &VersionId, environment: &PlaceName) -> Self {
        let (app, id, place) = (app.clone(), *id, environment.to_string());
        let (setting, claim, fill) = (Setting::Environment, Claim::Live, Fill::Requested);
        Self { app, id, place, setting, claim, fill, leaves_out_damaged: false, turn: LoadTurn::InTurn }
    }

    /// A version that is live in an environment, with those of its files that are not damaged.
    pub(super) fn already_live(app: &AppName, id: &VersionId, environment: &PlaceName) -> Self {
        Self { leaves_out_damaged: true, ..Self::live(app, id, environment) }
    }

    /// A version that was replaced in an environment, kept for its assets.
    pub(super) fn replaced(app: &AppName, id: &VersionId, environment: &PlaceName) -> Self {
        Self { claim: Claim::Other, fill: Fill::Ahead, ..Self::already_live(app, id, environment) }
    }

    /// A preview; `place` is its name in metrics. Their queues bound how many are loaded at a time.
    pub(super) fn preview(app: &AppName, id: &VersionId, place: &str) -> Self {
        let (app, id, place) = (app.clone(), *id, place.to_owned());
        let (setting, claim, fill) = (Setting::Preview, Claim::Other, Fill::Requested);
        Self { app, id, place, setting, claim, fill, leaves_out_damaged: true, turn: LoadTurn::AtOnce }
    }
}
