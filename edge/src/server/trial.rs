//! Tries the running program on the configuration and the stored state of an edge, to report the reasons for which an
//! upgrade would fail. The edge may run, and is not modified.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use devanture_config::edge_toml::EdgeFile;
use devanture_config::{AppName, Manifest, PlaceName, VersionId};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use tempfile::TempDir;

use super::error::StartError;
use super::runner::folder_of;
use super::stores::{CATALOG_NAME, data_dir};
use super::takeover::{self, Running};
use super::trial_listeners::try_listeners;
use devanture_base::durable;
use devanture_serve::live::Lacking;
use devanture_store::blobs::Room;
use devanture_store::catalog::{self, Catalog, CopyState};
use devanture_store::records::{self, LIVE_PREFIX, LivePointer, VERSIONS_PREFIX, VersionRecord};

/// Maximum number of attempts to copy a catalog during writes.
const COPIES_MAX: u32 = 50;
/// Pause before each attempt, longer than the resolution of file times.
const COPY_PAUSE: Duration = Duration::from_millis(100);
/// Folders of the data folder that an edge reads and writes.
const FOLDERS: [&str; 8] = ["", "blobs", "deltas", "manifests", "quarantine", "tls", "tmp", "variants"];
/// Files of the data folder, with true for written files; an edge creates missing parts.
const FILES: [(&str, bool); 5] =
    [(CATALOG_NAME, true), ("catalog.lock", true), ("format", false), ("tls/ca.key", false), ("tls/ca.pem", false)];

/// Result of a trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// Number of records of the catalog.
    pub records: usize,
    /// Number of versions, each with its manifest.
    pub versions: usize,
    /// Number of versions that are live in an environment.
    pub live: usize,
    /// The process id of the running edge, which the program could take over from.
    pub running: Option<u32>,
    /// Damage that does not prevent an upgrade.
    pub notes: Vec<String>,
}

/// Tries the program on a configuration and on a copy of its catalog.
///
/// # Errors
/// All reasons for which an upgrade would fail.
pub async fn try_upgrade(file: &EdgeFile, base: &Path) -> Result<Trial, Vec<StartError>> {
    let mut faults = super::check(file, base);
    let data_dir = data_dir(file, base);
    let running = probe(file, base, &data_dir).map_err(|error| faults.push(error)).unwrap_or_default();
    faults.extend(running.iter().flat_map(|running| try_listeners(file, running)));
    let closed = closed(&data_dir);
    // Without read access, the stored state is unknown.
    let stored = if closed.is_empty() { stored(&data_dir, running.is_some()).await } else { Ok(Default::default()) };
    faults.extend(closed);
    let (mut trial, mut lacking) = stored.map_err(|error| faults.push(error)).unwrap_or_default();
    // For files, the running edge's report is used: reading all files would take long.
    let known = running.iter().flat_map(|running| &running.in_memory_alone);
    let known: Vec<Lacking> =
        known.filter(|known| !lacking.iter().any(|lacking| lacking.is_of(known))).cloned().collect();
    lacking.extend(known);
    let served = match &running {
        Some(running) => running.served_of(&data_dir, lacking.clone()),
        None => Ok(Some(Vec::new())),
    };
    let served = served.map_err(|error| faults.push(error)).unwrap_or_default();
    // If the release does not report its served versions, all versions count.
    let lost: Vec<Lacking> = served.unwrap_or_else(|| lacking.clone());
    faults.extend(running.as_ref().and_then(|_running| no_handover(&data_dir)));
    trial.running = running.map(|running| running.pid);
    let fault = StartError::lacking(trial.running.unwrap_or_default(), &lost).filter(|_| !file.take_over_damaged);
    faults.extend(fault);
    let others = lacking.iter().filter(|lacking| file.take_over_damaged || !lost.contains(lacking));
    trial.notes.extend(others.map(ToString::to_string));
    if faults.is_empty() { Ok(trial) } else { Err(faults) }
}

/// Returns a fault for each part of the data folder that the user cannot use as an edge does, and none for parts inside
/// an unusable part.
fn closed(data_dir: &Path) -> Vec<StartError> {
    let folders = FOLDERS.map(|name| (name, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK));
    let files = FILES.map(|(name, is_written)| match is_written {
        true => (name, Access::READ_OK | Access::WRITE_OK),
        false => (name, Access::READ_OK),
    });
    let (mut closed, mut faults): (Vec<&str>, Vec<StartError>) = (Vec::new(), Vec::new());
    for (name, access) in folders.into_iter().chain(files) {
        if closed.iter().any(|above| Path::new(name).starts_with(above)) {
            continue;
        }
        let path = if name.is_empty() { data_dir.to_owned() } else { data_dir.join(name) };
        let Err(errno) = accessat(CWD, path.as_path(), access, AtFlags::EACCESS) else { continue };
        if errno != Errno::NOENT {
            closed.push(name);
            let (path, error) = (path.display(), std::io::Error::from(errno));
            let reason = format!(
                "{path} cannot be read and written as an edge does: {error}; give it back to the user of the edge, or \
                 call this as that user: docs/runbooks/disk-unwritable.md"
            );
            faults.push(StartError::Upgrade { reason });
        }
    }
    faults
}

/// Returns the reason why the running edge could not hand over its catalog, which requires a copy in the data folder
/// for later reads. A missing permission is a separate fault.
fn no_handover(data_dir: &Path) -> Option<StartError> {
    let why = match durable::probe(data_dir) {
        Err(durable::Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => error.to_string(),
        Ok(()) => {
            let bytes = std::fs::metadata(data_dir.join(CATALOG_NAME)).map_or(0, |catalog| catalog.len());
            let free_bytes = Room::of(data_dir, 0, 0).ok()?.free_bytes;
            if free_bytes >= bytes {
                return None;
            }
            format!("{free_bytes} bytes are free on the disk of {}, and {bytes} are needed", data_dir.display())
        }
    };
    let reason =
        format!("the running edge cannot hand its catalog over, of which it keeps a copy until it ends: {why}");
    Some(StartError::Upgrade { reason })
}

fn probe(file: &EdgeFile, base: &Path, data_dir: &Path) -> Result<Option<Running>, StartError> {
    let folder = file.runner.enabled.then(|| folder_of(file, base)).transpose()?;
    takeover::probe(data_dir, folder.as_deref().map(|folder| (&file.runner, folder)))
}

/// Reads a copy of the catalog; returns its content, and the live versions with an unreadable manifest.
async fn stored(data_dir: &Path, edge_runs: bool) -> Result<(Trial, Vec<Lacking>), StartError> {
    let (mut trial, mut lacking) = (Trial::default(), Vec::new());
    let path = data_dir.join(CATALOG_NAME);
    if !path.exists() {
        return Ok((trial, lacking));
    }
    let (catalog, _folder) = copy(&path, edge_runs)?;
    let mut live: BTreeMap<(String, VersionId), Vec<PlaceName>> = BTreeMap::new();
    // Keys of pointers precede keys of versions.
    for (key, record) in catalog.list("", None, false, usize::MAX).await? {
        trial.records += 1;
        let Some((app, name)) = key.split_once('/').and_then(|(_, rest)| rest.split_once('/')) else { continue };
        if key.starts_with(LIVE_PREFIX) {
            for version in records::read::<LivePointer>(&key, &record)?.versions() {
                live.entry((app.to_owned(), version)).or_default().extend(name.parse::<PlaceName>());
            }
        } else if key.starts_with(VERSIONS_PREFIX) {
            records::read::<VersionRecord>(&key, &record)?;
            trial.versions += 1;
            let (Ok(app), Ok(id)) = (app.parse::<AppName>(), name.parse::<VersionId>()) else { continue };
            let error = match look(data_dir, &app, id)? {
                Ok(mistake) => {
                    trial.notes.extend(mistake.map(|mistake| {
                        format!("version {} of {app} is served without what is bad of it: {mistake}", id.short())
                    }));
                    continue;
                }
                Err(error) => error,
            };
            let environments = live.get(&(app.to_string(), id)).cloned().unwrap_or_default();
            if environments.is_empty() {
                trial.notes.push(format!(
                    "version {} of {app}, which is live nowhere, cannot be loaded ({error})",
                    id.short()
                ));
            }
            let of = |environment| Lacking::whole(&app, environment, id, error.clone());
            lacking.extend(environments.into_iter().map(of));
        }
    }
    let versions: BTreeSet<_> = live.keys().map(|(_, version)| *version).collect();
    trial.live = versions.len();
    Ok((trial, lacking))
}

/// Checks the manifest of a version: `Err` with the damage, or `Ok` with the objection of the program's checks, if any.
///
/// # Errors
/// The manifest is undamaged, but the program cannot read its format.
fn look(data_dir: &Path, app: &AppName, id: VersionId) -> Result<Result<Option<String>, String>, StartError> {
    let path = manifest_path(data_dir, id);
    let bytes = match std::fs::read(path) {
        Ok(bytes) if VersionId::of(&bytes) == id => bytes,
        Ok(_) => return Ok(Err("the bytes of its manifest are damaged".to_owned())),
        Err(error) => return Ok(Err(format!("its manifest cannot be read: {error}"))),
    };
    let reason = |error| format!("this program cannot read the manifest of version {} of {app}: {error}", id.short());
    match Manifest::stored(&bytes) {
        Ok(manifest) => Ok(Ok(manifest.check().err().map(|bad| bad.to_string()))),
        Err(error) => Err(StartError::Upgrade { reason: reason(error) }),
    }
}

fn manifest_path(data_dir: &Path, id: VersionId) -> PathBuf {
    let hex = id.to_string();
    data_dir.join("manifests").join(hex.get(..2).unwrap_or_default()).join(format!("{hex}.json"))
}

/// Copies a catalog, even if an edge has the catalog open: a file unchanged during the copy equals the state after a
/// power loss. Every page of the copy is valid.
#[expect(clippy::disallowed_methods, reason = "nothing is served")]
fn copy(path: &Path, edge_runs: bool) -> Result<(Arc<dyn Catalog>, TempDir), StartError> {
    let failed =
        |reason: String| StartError::Upgrade { reason: format!("{} cannot be copied: {reason}", path.display()) };
    let folder = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let copy = folder.path().join(CATALOG_NAME);
    for _ in 0..COPIES_MAX {
        let before = changed(path).map_err(|error| failed(error.to_string()))?;
        // Not by the file's age: after a clock set back, the change is in the future.
        std::thread::sleep(COPY_PAUSE);
        if changed(path).is_ok_and(|after| after == before) {
            durable::copy_for_reading(path, &copy).map_err(|error| failed(error.to_string()))?;
            if changed(path).is_ok_and(|after| after == before) {
                let not_opened = |error| super::stores::not_opened(path, error);
                let found = catalog::check_copy(path, &copy).map_err(not_opened)?;
                // Only a stopped edge may leave an incomplete commit.
                if edge_runs && found == CopyState::LastCommitLost {
                    return Err(catalog::Error::Damaged { path: path.display().to_string() }.into());
                }
                return Ok((catalog::open(&copy).map_err(not_opened)?, folder));
            }
        }
    }
    Err(failed("it changes all the time; try again".to_owned()))
}

fn changed(path: &Path) -> std::io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use devanture_config::manifest::FileEntry;

    use super::*;

    #[tokio::test]
    async fn a_catalog_that_was_written_before_the_clock_was_set_back_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CATALOG_NAME);
        drop(catalog::open(&path).unwrap());
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
        let copied = copy(&path, false);
        assert!(copied.is_ok(), "{:?}", copied.err());
    }

    /// Root may use everything, so the test uses a part that no right helps with: a link to itself.
    #[test]
    fn each_part_of_the_data_folder_that_cannot_be_used_is_one_fault_and_what_lies_in_it_is_none() {
        let parts = FOLDERS.into_iter().chain(FILES.map(|(name, _)| name)).filter(|name| !name.is_empty());
        for part in parts {
            let folder = tempfile::tempdir().unwrap();
            assert!(closed(folder.path()).is_empty(), "what is missing is made");
            let path = folder.path().join(part);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
            let faults: Vec<String> = closed(folder.path()).iter().map(ToString::to_string).collect();
            assert_eq!(faults.len(), 1, "{part}: {faults:?}");
            assert!(faults[0].starts_with(&format!("{} cannot be read", path.display())), "{faults:?}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what a test writes is not durable")]
    fn a_manifest_of_another_format_is_a_fault_and_a_damaged_or_missing_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let app: AppName = "shop".parse().unwrap();
        let page = FileEntry { hash: Digest::of(b"page"), size: 4, media_type: None };
        let whole = Manifest::of_files(BTreeMap::from([("index.html".parse().unwrap(), page)]));
        let write = |id: VersionId, bytes: &[u8]| {
            let path = manifest_path(folder.path(), id);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write(whole.id(), &whole.canonical());
        assert_eq!(look(folder.path(), &app, whole.id()).unwrap(), Ok(None));
        // A version accepted by an earlier release is noted, and does not prevent the upgrade.
        let text = String::from_utf8(whole.canonical()).unwrap();
        let text = text.replacen('{', r#"{"base":{"upstreams":{"api":"http://a,b"}},"#, 1);
        let mistaken = Manifest::read(text.as_bytes()).unwrap();
        write(mistaken.id(), &mistaken.canonical());
        let named = look(folder.path(), &app, mistaken.id()).unwrap().unwrap();
        assert!(named.is_some_and(|named| named.contains("http://a,b")));
        write(whole.id(), b"{}");
        assert!(look(folder.path(), &app, whole.id()).unwrap().unwrap_err().contains("damaged"));
        let other = br#"{"format":"of a later release"}"#;
        let id = VersionId::of(other);
        assert!(look(folder.path(), &app, id).unwrap().unwrap_err().contains("cannot be read"));
        write(id, other);
        let error = look(folder.path(), &app, id).unwrap_err().to_string();
        assert!(error.contains("this program cannot read the manifest of version"), "{error}");
    }
}
