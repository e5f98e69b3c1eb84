//! `devanture-edge doctor`: looks at an edge and its machine from outside, and says what to do about what it finds.
//!
//! Nothing is changed, and everything ends in bounded time, also without a network: the edge may run or not. What it
//! looks at is in a file each; `finding` is what they have in common.

mod addresses;
mod certificates;
mod disk;
mod finding;
mod hidden;
mod machine;
mod network;
mod running;
mod scrape;
mod support;

pub use finding::{Finding, Level, Names};
pub use support::{SupportOptions, support_bundle};

use std::path::Path;

use devanture_config::edge_toml::EdgeFile;
use serde::Serialize;

use super::data_dir;
use super::local::check_stored;
use machine::Versions;
use running::Running;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
    /// Whether `edge.toml`, or a file that it names, has mistakes that keep the edge from starting.
    #[serde(skip)]
    is_misconfigured: bool,
}

impl Diagnosis {
    /// 2 for mistakes of the configuration, 1 if something else failed, else 0. Warnings count as 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            _ if self.is_misconfigured => 2,
            Level::Fail => 1,
            Level::Ok | Level::Warn => 0,
        }
    }

    /// The worst level of all findings.
    #[must_use]
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Looks at the edge of `file`, whose paths are relative to `base`, and at this machine.
pub async fn examine(file: &EdgeFile, base: &Path, names: Names) -> Diagnosis {
    let (running, edge) = Running::find(&data_dir(file, base)).await;
    Box::pin(examine_with(file, base, names, (running.as_ref(), edge))).await
}

async fn examine_with(
    file: &EdgeFile,
    base: &Path,
    names: Names,
    (running, edge): (Option<&Running>, Finding),
) -> Diagnosis {
    let data_dir = data_dir(file, base);
    let faults = super::check(file, base);
    let is_misconfigured = faults.iter().any(|fault| fault.exit_code() == 2);
    let mut findings = vec![Versions::of(&data_dir).finding()];
    let advice = "fix it before the next start";
    findings.extend(faults.iter().map(|fault| Finding::fail("configuration", fault.to_string(), advice)));
    if faults.is_empty() {
        findings.push(Finding::ok("configuration", "it has no mistakes"));
    }
    findings.push(edge);
    if let Some(running) = running {
        findings.extend(running.health_findings(names));
    }
    findings.extend(stored(file, base, names).await);
    findings.extend(network::ports(file, running).await);
    findings.extend(certificates::look(file, base, running, names));
    findings.extend(Box::pin(network::dns(file, running, names)).await);
    findings.extend(Box::pin(network::stores(file)).await);
    findings.extend(of_disk(file, &data_dir).await);
    findings.push(machine::clock().await);
    findings.push(machine::handles(&file.limits, running));
    findings.extend(machine::kernel());
    Diagnosis { findings, is_misconfigured }
}

/// What the stored state lacks, as `devanture-edge check` finds it.
async fn stored(file: &EdgeFile, base: &Path, names: Names) -> Vec<Finding> {
    let found = check_stored(file, base).await;
    let advice = "put the key file back, or rename what is reserved: `devanture-edge check` says more";
    match names {
        Names::Shown => found.into_iter().map(|what| Finding::warn("stored state", what, advice)).collect(),
        Names::Counted if found.is_empty() => Vec::new(),
        Names::Counted => vec![Finding::warn("stored state", format!("{} sentences about it", found.len()), advice)],
    }
}

/// Looks at the disk on a thread that may wait for it.
async fn of_disk(file: &EdgeFile, data_dir: &Path) -> Vec<Finding> {
    let (data_dir, limits) = (data_dir.to_owned(), file.limits.clone());
    tokio::task::spawn_blocking(move || disk::look(&data_dir, &limits)).await.unwrap_or_default()
}
