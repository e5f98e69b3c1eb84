//! `devanture-edge doctor`: examines an edge and its machine from outside, and reports findings with advice.
//!
//! The examination changes nothing, and ends in bounded time even without a network, whether the edge runs or not. Each
//! file has one kind of check; `finding` has the common types.

mod addresses;
mod caller;
mod certificates;
mod disk;
mod finding;
mod hidden;
mod issuers;
mod machine;
mod network;
mod rights;
mod running;
mod scrape;
mod support;
mod unread;

pub use finding::{Finding, Level, Names};
pub use support::{SupportOptions, support_bundle};
pub use unread::examine_unread;

use std::path::{Path, PathBuf};

use devanture_config::edge_toml::EdgeFile;
use devanture_config::text::counted;
use serde::Serialize;

use crate::server::{self, StartError, check_stored, data_dir};
use caller::Caller;
use machine::Versions;
use running::Edge;

/// The name of the check of `edge.toml` and its files.
const CONFIGURATION: &str = "configuration";
/// Advice about an error of the configuration.
const FIX_IT: &str = "fix it before the next start";

/// All findings.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
    /// True if `edge.toml`, or one of its files, has errors that prevent a start.
    #[serde(skip)]
    is_misconfigured: bool,
}

impl Diagnosis {
    /// Returns 2 for errors of the configuration, 1 for any other failure, and 0 otherwise. Warnings count as 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            _ if self.is_misconfigured => 2,
            Level::Fail => 1,
            Level::Ok | Level::Warn => 0,
        }
    }

    /// Returns the worst level of all findings.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Examines the edge of `file`, whose paths are relative to `base`, and the machine.
pub async fn examine(file: &EdgeFile, base: &Path, names: Names) -> Diagnosis {
    let (edge, finding) = Edge::find(&data_dir(file, base)).await;
    Box::pin(examine_with(file, base, names, (&edge, finding))).await
}

async fn examine_with(file: &EdgeFile, base: &Path, names: Names, (edge, edge_finding): (&Edge, Finding)) -> Diagnosis {
    let data_dir = data_dir(file, base);
    let (caller, running) = (Caller::of(&data_dir), edge.running());
    let mut findings = vec![Versions::of(&data_dir).finding()];
    let is_misconfigured = configuration(&server::check(file, base), &caller, &mut findings);
    findings.push(edge_finding);
    if let Some(running) = running {
        findings.extend(running.health_findings(names));
    }
    findings.extend(stored(file, base, names).await);
    findings.extend(network::ports(file, edge).await);
    findings.extend(certificates::look(file, base, running, names));
    findings.extend(Box::pin(network::dns(file, running, names)).await);
    findings.extend(Box::pin(network::stores(file)).await);
    findings.extend(Box::pin(issuers::look(file, base, names)).await);
    findings.extend(of_disk(file, data_dir, caller).await);
    findings.push(machine::clock().await);
    findings.push(machine::handles(&file.limits, running));
    findings.extend(machine::kernel(file.listen.tries_http3()));
    Diagnosis { findings, is_misconfigured }
}

/// Adds the faults of the configuration; returns true if a fault prevents the start. Missing rights of `caller` are no
/// fault if `caller` is not the edge's user.
fn configuration(faults: &[StartError], caller: &Caller, findings: &mut Vec<Finding>) -> bool {
    let (unknown, known): (Vec<_>, Vec<_>) =
        faults.iter().partition(|fault| caller.is_other() && fault.depends_on_user());
    findings.extend(known.iter().map(|fault| Finding::fail(CONFIGURATION, fault.to_string(), FIX_IT)));
    findings.extend(unknown.iter().map(|fault| Finding::warn(CONFIGURATION, fault.to_string(), caller.advice())));
    if known.is_empty() {
        let found = if unknown.is_empty() { "it has no mistakes" } else { "what this user can check has no mistakes" };
        findings.push(Finding::ok(CONFIGURATION, found));
    }
    known.iter().any(|fault| fault.exit_code() == 2)
}

/// Reports gaps of the stored state, as `devanture-edge check` does.
async fn stored(file: &EdgeFile, base: &Path, names: Names) -> Vec<Finding> {
    let found = check_stored(file, base).await;
    let advice = "put the key file back, or rename what is reserved: `devanture-edge check` says more";
    match names {
        Names::Shown => found.into_iter().map(|what| Finding::warn("stored state", what, advice)).collect(),
        Names::Counted if found.is_empty() => Vec::new(),
        Names::Counted => {
            vec![Finding::warn("stored state", format!("{} about it", counted(found.len(), "sentence")), advice)]
        }
    }
}

/// Checks the disk on a blocking thread.
async fn of_disk(file: &EdgeFile, data_dir: PathBuf, caller: Caller) -> Vec<Finding> {
    let (limits, cache) = (file.limits.clone(), disk::Cache::of(&file.storage.blobs));
    on_a_thread(move || {
        let mut found = disk::look(&data_dir, &limits, cache, &caller);
        found.extend(rights::look(&data_dir));
        found
    })
    .await
}

async fn on_a_thread(look: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Vec<Finding> {
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
