//! Visitors who are held on earlier versions of an environment.

use serde::{Deserialize, Serialize};

use crate::digest::VersionId;
use crate::names::{AppName, PlaceName};

/// The end of holding visitors on earlier versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpinned {
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: PlaceName,
    /// The versions on which visitors were held until now, the last one first.
    pub versions: Vec<VersionId>,
}
