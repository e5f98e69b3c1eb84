//! Visitors pinned to earlier versions of an environment.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// Response to the end of all pins to earlier versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// Versions with pinned visitors until now, the latest first.
    pub versions: Vec<VersionId>,
}
