//! Tries this program on the configuration and the stored state of an edge: what an upgrade to it would fail of. The edge
//! may run, and nothing of it is touched.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devanture_config::edge_toml::EdgeFile;
use devanture_config::{Manifest, VersionId};
use tempfile::TempDir;

use super::error::StartError;
use super::runner::folder_of;
use super::stores::{CATALOG_NAME, data_dir};
use super::takeover;
use crate::catalog::records::{self, LIVE_PREFIX, LivePointer, VERSIONS_PREFIX, VersionRecord};
use crate::catalog::{self, Catalog};
use crate::durable;

/// Attempts to copy a catalog that is written meanwhile …
const COPIES_MAX: u32 = 50;
/// … with pauses between them, which are longer than the clock of files is coarse.
const COPY_PAUSE: Duration = Duration::from_millis(100);

/// What a trial read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Records of the catalog.
    pub records: usize,
    /// Versions, each with its manifest.
    pub versions: usize,
    /// Those of them that are live somewhere.
    pub live: usize,
    /// The process of the edge that runs, which this program could take over from.
    pub running: Option<u32>,
}

/// Tries this program on a file and on a copy of the catalog that it leads to.
///
/// # Errors
/// Everything that an upgrade would fail of.
pub async fn try_upgrade(file: &EdgeFile, base: &Path) -> Result<Trial, Vec<StartError>> {
    let mut faults = super::check(file, base);
    let data_dir = data_dir(file, base);
    let running = probe(file, base, &data_dir).map_err(|error| faults.push(error)).unwrap_or_default();
    let stored = stored(&data_dir, &mut faults).await.map_err(|error| faults.push(error));
    match (stored, faults.is_empty()) {
        (Ok(trial), true) => Ok(Trial { running, ..trial }),
        _ => Err(faults),
    }
}

fn probe(file: &EdgeFile, base: &Path, data_dir: &Path) -> Result<Option<u32>, StartError> {
    let folder = file.runner.enabled.then(|| folder_of(file, base)).transpose()?;
    takeover::probe(data_dir, folder.as_deref().map(|folder| (&file.runner, folder)))
}

async fn stored(data_dir: &Path, faults: &mut Vec<StartError>) -> Result<Trial, StartError> {
    let mut trial = Trial { records: 0, versions: 0, live: 0, running: None };
    let path = data_dir.join(CATALOG_NAME);
    if !path.exists() {
        return Ok(trial);
    }
    let (catalog, _folder) = copy(&path)?;
    let mut live = BTreeSet::new();
    for (key, record) in catalog.list("", None, false, usize::MAX).await? {
        trial.records += 1;
        if key.starts_with(LIVE_PREFIX) {
            live.extend(records::read::<LivePointer>(&key, &record)?.versions());
        } else if let Some(id) = key.strip_prefix(VERSIONS_PREFIX).and_then(|rest| rest.rsplit('/').next()) {
            records::read::<VersionRecord>(&key, &record)?;
            trial.versions += 1;
            if let Some(reason) = unread(data_dir, id) {
                faults.push(StartError::Upgrade { reason: format!("the version {id} cannot be read: {reason}") });
            }
        }
    }
    trial.live = live.len();
    Ok(trial)
}

/// Why the manifest of a version cannot be read.
fn unread(data_dir: &Path, id: &str) -> Option<String> {
    let Ok(id) = id.parse::<VersionId>() else { return Some("its id is none".to_owned()) };
    let hex = id.to_string();
    let path = data_dir.join("manifests").join(hex.get(..2)?).join(format!("{hex}.json"));
    match std::fs::read(path) {
        Ok(bytes) => Manifest::parse(&bytes).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// A copy of a catalog, also of one that an edge has open: a file that did not change while it was copied is what a loss
/// of power would have left.
#[expect(clippy::disallowed_methods, reason = "nothing is served")]
fn copy(path: &Path) -> Result<(Arc<dyn Catalog>, TempDir), StartError> {
    let failed =
        |reason: String| StartError::Upgrade { reason: format!("{} cannot be copied: {reason}", path.display()) };
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let copy = folder.path().join(CATALOG_NAME);
    for _ in 0..COPIES_MAX {
        let before = changed(path).map_err(|error| failed(error.to_string()))?;
        if before.elapsed().is_ok_and(|since| since >= COPY_PAUSE) {
            durable::copy_for_reading(path, &copy).map_err(|error| failed(error.to_string()))?;
            if changed(path).is_ok_and(|after| after == before) {
                let opened = catalog::open(&copy).map_err(|error| super::stores::not_opened(path, error))?;
                return Ok((opened, folder));
            }
        }
        std::thread::sleep(COPY_PAUSE);
    }
    Err(failed("it changes all the time; try again".to_owned()))
}

fn changed(path: &Path) -> std::io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}
