//! Number of instances of each process: over all nodes, and local.

use std::collections::BTreeMap;

use devanture_config::site_toml::{Instances, Kind, Process, ProcessName, Server};

use super::error::Error;
use super::group::Group;
use super::shared::Shared;
use super::spread::Spread;
use devanture_store::records;
use devanture_store::records::instances::{ScaleRecord, scale_key};

/// Target number of instances of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// On the local node.
    pub(super) own: u64,
    /// On all other nodes.
    pub(super) elsewhere: u64,
}

/// Targets of all processes of a backend.
pub(super) type Counts = BTreeMap<ProcessName, Count>;

impl Shared {
    /// Returns the target number of instances of each process of a group.
    pub(super) async fn counts(&self, group: &Group, server: &Server) -> Result<Counts, Error> {
        let key = scale_key(&group.id.app, &group.id.place);
        let record = self.catalog.get(&key).await?;
        let scale: ScaleRecord = match record {
            Some(record) => records::read(&key, &record)?,
            None => ScaleRecord::default(),
        };
        let wanted = |process: &Process| scale.processes.get(&process.name).copied().unwrap_or(process.instances);
        let all = server.processes.iter().map(|process| wanted(process).alone());
        let all = all.fold(0, |sum: u64, count| sum.saturating_add(count));
        let max = self.limits.instances_max;
        if all > max {
            return Err(Error::TooMany { wanted: all, max, setting: "instances_max" });
        }
        let nodes = if group.is_spread() { self.nodes.names() } else { vec![self.node.clone()] };
        let count = |process: &Process| {
            let spread = Spread { app: &group.id.app, place: &group.id.place, process: &process.name };
            let own = spread.share(wanted(process), &nodes, &self.node);
            let elsewhere = match wanted(process) {
                Instances::Count(count) => count.saturating_sub(own),
                Instances::All(_) => u64::try_from(nodes.len().saturating_sub(1)).unwrap_or(u64::MAX),
            };
            (process.name.clone(), Count { own, elsewhere })
        };
        Ok(server.processes.iter().map(count).collect())
    }

    /// Returns true if instances beyond the node's share may end: replaced instances of other nodes answer. Workers of
    /// other nodes are unobservable, and two workers on the same work do harm.
    pub(super) fn may_end_excess(&self, group: &Group, process: &Process, count: Count) -> bool {
        if process.kind != Kind::Web || !group.is_spread() {
            return true;
        }
        let answering = self.registry.members_elsewhere(&group.id);
        u64::try_from(answering).unwrap_or(u64::MAX) >= count.elsewhere
    }
}

/// Returns true if all instances that answer requests are to run on other nodes.
pub(super) fn are_elsewhere(server: &Server, counts: &Counts) -> bool {
    let web = server.processes.iter().filter(|process| process.kind == Kind::Web);
    let web: Vec<Count> = web.filter_map(|process| counts.get(&process.name).copied()).collect();
    web.iter().all(|count| count.own == 0) && web.iter().any(|count| count.elsewhere > 0)
}
