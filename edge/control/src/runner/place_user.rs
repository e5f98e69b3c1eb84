//! The user that the instances of an environment, or of the previews of an app, run as.

use devanture_config::AppName;

/// Whose settings previews have.
pub(super) const PREVIEW: &str = "preview";

/// The user of an environment, or of the previews of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlaceUser {
    pub(super) app: AppName,
    /// The environment, or `preview`.
    pub(super) place: String,
    pub(super) uid: u32,
    /// Those that they ran as before.
    pub(super) earlier: Vec<u32>,
}
