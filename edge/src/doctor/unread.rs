//! The diagnosis if `edge.toml` has errors or cannot be read: the machine, and the data folder if known.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use devanture_config::edge_toml::data_dir_of;
use devanture_config::limits::Limits;

use super::caller::Caller;
use super::finding::{Finding, Names};
use super::machine::{self, Versions};
use super::running::Edge;
use super::{CONFIGURATION, Diagnosis, FIX_IT, disk, on_a_thread};
use crate::server::StartError;

/// Examines everything that does not need `edge.toml`; `error` is the reason why the file is not used. `text` is the
/// content, if readable, and `base` its folder.
pub async fn examine_unread(error: &StartError, text: Option<&str>, base: &Path) -> Diagnosis {
    let is_denied =
        matches!(error, StartError::ConfigFile { source, .. } if source.kind() == ErrorKind::PermissionDenied);
    let data_dir = text.and_then(data_dir_of).map(|folder| base.join(folder));
    let mut findings = vec![data_dir.as_deref().map_or_else(Versions::of_machine, Versions::of).finding()];
    findings.extend(match error {
        StartError::Config(mistakes) => {
            mistakes.0.iter().map(|mistake| Finding::fail(CONFIGURATION, mistake.to_string(), FIX_IT)).collect()
        }
        // A user other than the edge's is no fault of the file.
        error if is_denied => vec![Finding::warn(CONFIGURATION, error.to_string(), Caller::Own.advice())],
        error => vec![Finding::fail(CONFIGURATION, error.to_string(), FIX_IT)],
    });
    let edge = match &data_dir {
        Some(data_dir) => {
            let (edge, finding) = Edge::find(data_dir).await;
            findings.push(finding);
            edge
        }
        None => Edge::Hidden,
    };
    findings.extend(edge.running().into_iter().flat_map(|running| running.health_findings(Names::Shown)));
    findings.extend(of_disk(data_dir, base).await);
    findings.push(machine::clock().await);
    findings.push(machine::handles(&Limits::default(), edge.running()));
    findings.extend(machine::kernel(false));
    Diagnosis { findings, is_misconfigured: !is_denied }
}

/// Checks the disk of the data folder, or of the folder of `edge.toml`, next to which `init` puts the data.
async fn of_disk(data_dir: Option<PathBuf>, base: &Path) -> Vec<Finding> {
    let base = base.to_owned();
    on_a_thread(move || match data_dir {
        Some(folder) => disk::look(&folder, &Limits::default(), disk::Cache::None, &Caller::of(&folder)),
        None => disk::look_around(&base, &Limits::default(), disk::Cache::None),
    })
    .await
}
