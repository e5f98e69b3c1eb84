//! Container images of an edge: permission, and leftovers of an earlier run.

use std::path::Path;

use devanture_config::edge_toml;
use devanture_config::limits::Limits;
use tokio::sync::Notify;

use super::error::Error;
use devanture_host::containers::{self, Images, ImagesSettings, check_credentials, check_socket};

/// Images of the edge, if permitted.
pub(super) struct OwnImages {
    pub(super) images: Images,
    /// Notified after the deletion of a version.
    pub(super) changed: Notify,
    /// True if the edge may run images; otherwise podman is never called.
    pub(super) are_run: bool,
}

impl OwnImages {
    /// Starts with the images permitted by `edge.toml`. Removes the containers of an earlier run, unless adopted.
    pub(super) async fn start(
        (settings, limits): (&edge_toml::Runner, &Limits),
        edge_id: String,
        base: &Path,
        is_adopted: bool,
    ) -> Option<Self> {
        let images = settings.images.clone()?;
        let are_run = may_run(settings);
        if !are_run {
            tracing::warn!(reason = NEEDS_ROOT, "backends that are container images are refused");
        }
        let auth_file = images.auth_file.as_ref().map(|file| base.join(file));
        let settings = ImagesSettings { images, auth_file, edge_id, limits: limits.clone() };
        let own = Self { images: Images::new(settings), changed: Notify::new(), are_run };
        if !is_adopted {
            own.remove_leftovers().await;
        }
        Some(own)
    }

    /// Removes the containers of an earlier run.
    pub(super) async fn remove_leftovers(&self) {
        if !self.are_run {
            return;
        }
        match self.images.podman().remove_containers_of(self.images.edge_id()).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "containers of an earlier run were removed"),
            Err(error) => tracing::error!(%error, "containers of an earlier run may still be there"),
        }
    }
}

/// Checks the prerequisites of images without changing the machine.
///
/// # Errors
/// [`Error::Image`].
pub(super) fn check(settings: &edge_toml::Runner, base: &Path) -> Result<(), Error> {
    let Some(images) = &settings.images else { return Ok(()) };
    if !may_run(settings) {
        return Err(needs_root());
    }
    check_socket(&images.socket)?;
    images.auth_file.as_ref().map_or(Ok(()), |file| Ok(check_credentials(&base.join(file))?))
}

/// Returns true if the edge may run images.
fn may_run(settings: &edge_toml::Runner) -> bool {
    settings.spawner.is_none() && rustix::process::geteuid().is_root()
}

/// Refusal of images on an edge with a spawner or without root.
const NEEDS_ROOT: &str = "an edge runs container images only where it is root itself, without [runner] spawner: a program that may ask podman to run a container as any user is root";

/// Error of an edge that may not run images.
pub(super) fn needs_root() -> Error {
    Error::image(NEEDS_ROOT, "run the edge as root without `runner.spawner`, or push the backend as a folder")
}

impl From<containers::Error> for Error {
    fn from(error: containers::Error) -> Self {
        Self::image(error.to_string(), error.hint())
    }
}
