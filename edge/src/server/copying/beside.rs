//! Copies the files beside an edge's stores: the keys of secrets, the local authority, and the ACME state.

use std::path::Path;

use devanture_config::api::CopyReport;
use devanture_config::edge_toml::EdgeFile;

use crate::server::local::LocalError;
use crate::server::stores::data_dir;
use devanture_base::durable;
use devanture_control::ledger::Error;
use devanture_control::safekeeping::not_read;
use devanture_control::settings::KeyFile;

/// The folder of certificates in a data folder.
const TLS: &str = "tls";
/// Maximum size of a file in the folder.
const FILE_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// Adds the keys of secrets to the target's keys, and copies certificates that the target lacks.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub(super) async fn copy(
    (from, from_base): (&EdgeFile, &Path),
    (to, to_base): (&EdgeFile, &Path),
    report: &mut CopyReport,
) -> Result<(), LocalError> {
    let keys = from.secrets_key_file().map(|path| from_base.join(path));
    let own = to.secrets_key_file().map(|path| to_base.join(path));
    let (from, to) = (data_dir(from, from_base), data_dir(to, to_base));
    let copied = tokio::task::spawn_blocking(move || {
        let added = match keys.filter(|keys| keys.exists()) {
            Some(keys) => KeyFile::new(own).adopt(&keys)?,
            None => 0,
        };
        Ok::<_, Error>((added, copy_missing(&from, &to)?))
    });
    let (added, kept) = copied.await.map_err(|error| devanture_control::ledger::lost(&error))??;
    report.added_keys = report.added_keys.saturating_add(added);
    report.kept_files = kept;
    Ok(())
}

/// Copies missing files below `tls/`. Returns existing files with different content.
fn copy_missing(from: &Path, to: &Path) -> Result<Vec<String>, Error> {
    let mut kept = Vec::new();
    if !from.is_dir() {
        return Ok(kept);
    }
    let from = durable::Guarded::open(from)?;
    for name in from.files(TLS).map_err(not_read)? {
        let bytes = from.read(&name, FILE_BYTES_MAX).map_err(not_read)?;
        let target = to.join(&name);
        match std::fs::read(&target) {
            Ok(found) if found == bytes => {}
            Ok(_) => kept.push(name),
            Err(_missing) => {
                durable::make_folder(target.parent().unwrap_or(to))?;
                durable::write_file(&target, &bytes, durable::FILE_MODE)?;
            }
        }
    }
    kept.sort();
    Ok(kept)
}

/// Returns the tasks left to the operator.
pub(super) fn warnings((from, from_base): (&EdgeFile, &Path), (to, to_base): (&EdgeFile, &Path)) -> Vec<String> {
    let mut warnings = Vec::new();
    let keys = to.secrets_key_file().map(|path| to_base.join(path)).unwrap_or_default();
    let has_keys = from.secrets_key_file().is_some_and(|path| from_base.join(path).exists());
    if has_keys && to.cluster.is_some() {
        warnings.push(format!(
            "{} has the keys of secrets of both: copy it to every other node, and over secrets.key beside the CA",
            keys.display()
        ));
    }
    if from.runner.enabled {
        warnings.push(
            "what backends keep in `persist` is not copied: copy `data/` of the runner's folder while they are stopped"
                .to_owned(),
        );
    }
    warnings
}
