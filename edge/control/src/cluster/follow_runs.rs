//! Follows the instances of other nodes, so that requests can reach the instances.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::instance_messages::{RUNS, RunReport};
use super::messages::Answer;
use super::nodes::Nodes;
use crate::ledger::Member;
use devanture_serve::proxy::{NodeProcess, Registry, RunId};
use devanture_store::records::table::FollowedBy;

/// Pause before a retry to an unresponsive node.
const PAUSE: Duration = Duration::from_millis(250);

/// Followed node, until dropped.
struct Followed {
    member: Member,
    task: AbortHandle,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Nodes {
    /// Keeps `registry` up to date with the instances of all other live nodes, until `stop` is cancelled.
    pub async fn follow_runs(self, registry: Registry, stop: CancellationToken) {
        let mut follow = self.follow(FollowedBy::NodeRuns).until(stop);
        let mut followed: HashMap<String, Followed> = HashMap::new();
        while follow.changed().await {
            match self.others().await {
                Ok(others) => {
                    followed.retain(|_, one| others.contains(&one.member));
                    for member in others {
                        if !followed.contains_key(&member.node) {
                            let task = tokio::spawn(self.clone().follow_node(member.clone(), registry.clone()));
                            followed.insert(member.node.clone(), Followed { member, task: task.abort_handle() });
                        }
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the nodes cannot be listed: their instances are not known");
                    follow.read_failed();
                }
            }
        }
    }

    async fn follow_node(self, member: Member, registry: Registry) {
        let mut known = Known { node: member.node.clone(), registry };
        loop {
            let again = Instant::now() + PAUSE;
            match self.open(&member, RUNS).await {
                Ok(mut exchange) => {
                    while let Ok(Some(answer)) = exchange.reader.next::<Answer>().await {
                        if let Answer::Runs(report) = answer {
                            known.take(&member, report);
                        }
                    }
                    // A successor process answers at once; until then the last known instances stay.
                    sleep_until(again).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the instances of a node are not known");
                    known.forget();
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// What is known of a node, forgotten when this is dropped.
struct Known {
    node: String,
    registry: Registry,
}

impl Known {
    fn take(&mut self, member: &Member, report: RunReport) {
        let RunReport { process, is_whole, runs } = report;
        let from = NodeProcess { node: self.node.clone(), advertise: member.advertise, process };
        if is_whole {
            let named: HashSet<&RunId> = runs.iter().map(|(id, _)| id).collect();
            for id in self.registry.runs_of_node(&self.node).iter().filter(|id| !named.contains(id)) {
                self.registry.run_elsewhere(&from, id, &[]);
            }
        }
        for (id, members) in &runs {
            self.registry.run_elsewhere(&from, id, members);
        }
    }

    fn forget(&self) {
        self.registry.forget_node(&self.node);
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.forget();
    }
}
