//! The indexes of a version: which file answers at a path.

use std::sync::Arc;

use devanture_config::Manifest;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;
use devanture_site::fast_paths::FastPaths;
use devanture_site::resolve::PathIndex;

use super::loader::Error;

/// Builds the path indexes on a blocking thread, as there may be a hundred thousand paths.
pub(super) async fn of(
    manifest: &Arc<Manifest>,
    handling: HtmlHandling,
    other_names: Vec<(BundlePath, BundlePath)>,
) -> Result<(PathIndex, FastPaths), Error> {
    let manifest = Arc::clone(manifest);
    let look_ups = tokio::task::spawn_blocking(move || {
        let public = || manifest.files.keys().filter(|path| !path.is_private());
        let mut index = PathIndex::new(public());
        for (name, plain) in &other_names {
            index.name_also(name, plain);
        }
        let fast_paths = FastPaths::new(public(), &index, handling);
        (index, fast_paths)
    });
    look_ups.await.map_err(|_panicked| Error::Panicked)
}
