//! User of an environment's instances, or of an app's previews.

use devanture_config::AppName;

/// Environment name of the previews' settings.
pub(super) const PREVIEW: &str = "preview";

/// User of an environment, or of an app's previews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlaceUser {
    pub(super) app: AppName,
    /// Environment, or `preview`.
    pub(super) place: String,
    pub(super) uid: u32,
    /// Earlier users.
    pub(super) earlier: Vec<u32>,
}
