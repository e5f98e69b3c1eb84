//! Loads to run: the version, its place, and the errors.

use devanture_config::{AppName, PlaceName, VersionId};

use crate::version::{self, Claim, Fill, Setting};
use devanture_store::catalog;

/// Reason that a version cannot be loaded.
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
    /// The app does not have the version.
    #[error("the app {app} has no version {id}")]
    Unknown {
        /// The app.
        app: AppName,
        /// The version.
        id: VersionId,
    },
    /// The store failed, or the stored bytes do not match their digest or format.
    #[error(transparent)]
    Version(#[from] version::Error),
}

/// Start of a load with a long manifest; few long manifests are in memory at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadTurn {
    /// In the app's turn, for loads that requests and pushes begin in any number.
    InTurn,
    /// At once: the caller begins a single load at a time, of all apps, and must not wait for the loads of another app.
    AtOnce,
}

/// A version to load, and the place that will serve the version.
#[derive(Clone)]
pub struct Load {
    /// The app.
    pub app: AppName,
    /// The version.
    pub id: VersionId,
    /// The environment or alias, or `preview`.
    pub place: String,
    /// The kind of place: environment or preview.
    pub setting: Setting,
    /// Previews that may be evicted for the load.
    pub claim: Claim,
    /// Share of the memory for files that the version's files may fill.
    pub fill: Fill,
    /// True if damaged or missing files are left out; otherwise such files fail the load.
    pub leaves_out_damaged: bool,
    /// Start of the load, if the manifest is long.
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

    /// A version that is live in an environment, without damaged files.
    pub(super) fn already_live(app: &AppName, id: &VersionId, environment: &PlaceName) -> Self {
        Self { leaves_out_damaged: true, ..Self::live(app, id, environment) }
    }

    /// A version that was replaced in an environment, kept for its assets.
    pub(super) fn replaced(app: &AppName, id: &VersionId, environment: &PlaceName) -> Self {
        Self { claim: Claim::Other, fill: Fill::Ahead, ..Self::already_live(app, id, environment) }
    }

    /// A preview; `place` is its name in metrics. The preview queues bound the number of simultaneous loads.
    pub(super) fn preview(app: &AppName, id: &VersionId, place: &str) -> Self {
        let (app, id, place) = (app.clone(), *id, place.to_owned());
        let (setting, claim, fill) = (Setting::Preview, Claim::Other, Fill::Requested);
        Self { app, id, place, setting, claim, fill, leaves_out_damaged: true, turn: LoadTurn::AtOnce }
    }
}
