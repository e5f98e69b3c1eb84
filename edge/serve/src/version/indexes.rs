//! The indexes of a version, from path to file.

use std::sync::Arc;

use devanture_config::Manifest;
use devanture_config::heap::HeapBytes as _;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::HtmlHandling;
use devanture_site::fast_paths::FastPaths;
use devanture_site::resolve::PathIndex;

use super::alone;
use super::loader::{Error, LoadRequest};
use super::{Charge, bytes_of};

/// Finds the file of a path. A version reloaded for better variants reuses the indexes of its predecessor.
pub struct Indexes {
    /// Path to file.
    pub paths: PathIndex,
    /// Path to file for simple paths.
    pub fast_paths: FastPaths,
    handling: HtmlHandling,
    /// The plain files that are not in the bundle.
    decoded: Vec<BundlePath>,
    other_names: Vec<(BundlePath, BundlePath)>,
    charge: Charge,
}

impl Indexes {
    /// The memory.
    pub(super) fn bytes(&self) -> u64 {
        self.charge.bytes()
    }
}

/// The indexes of a version: reused from the previous load, or built on a blocking thread, since a version may have a
/// hundred thousand paths.
pub(super) async fn of(
    request: &LoadRequest,
    manifest: &Arc<Manifest>,
    handling: HtmlHandling,
) -> Result<Arc<Indexes>, Error> {
    let (other_names, decoded): (_, Vec<BundlePath>) =
        (alone::other_names(request), request.decoded.keys().cloned().collect());
    if let Some(known) = request.known.as_ref().filter(|known| known.id == request.id).map(|known| &known.indexes)
        && (known.handling, &known.other_names, &known.decoded) == (handling, &other_names, &decoded)
    {
        return Ok(Arc::clone(known));
    }
    let manifest = Arc::clone(manifest);
    let look_ups = tokio::task::spawn_blocking(move || {
        let public = || manifest.files.keys().filter(|path| !path.is_private());
        let mut paths = PathIndex::new(public());
        paths.name_also(other_names.iter().map(|(name, plain)| (name, plain)));
        let fast_paths = FastPaths::new(public(), &paths, handling);
        (paths, fast_paths, other_names)
    });
    let (paths, fast_paths, other_names) = look_ups.await.map_err(|_panicked| Error::Panicked)?;
    let (memory, claim) = &request.memory;
    let charge = memory.charge(*claim);
    charge.grow(bytes_of(paths.heap_bytes() + fast_paths.heap_bytes()))?;
    Ok(Arc::new(Indexes { paths, fast_paths, handling, decoded, other_names, charge }))
}
