//! Turns: operations that start instances of an environment with changed settings, or run `release`, are serialized on
//! all nodes of a cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use super::Instances;
use crate::cluster::{self, Nodes};
use crate::ledger::{Duty, Error};
use devanture_store::records;

/// Interval between polls for the end of another node's turn.
const LOOK: Duration = Duration::from_millis(100);

/// Settings used by instances of an environment on this node before the settings were stored: a digest of the values
/// for each revision.
#[derive(Default)]
pub(crate) struct TriedRevisions(BTreeMap<u64, Digest>);

impl TriedRevisions {
    /// Returns the newest revision; 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.0.keys().next_back().copied().unwrap_or(0)
    }

    /// Records the start of instances with `values` under a revision. A revision has a single set of values on this
    /// node, even if the first set was never stored: instances with the first set may still run.
    ///
    /// # Errors
    /// `not_ready`.
    pub(crate) fn begin(&mut self, revision: u64, values: &BTreeMap<String, String>) -> Result<(), Error> {
        let values = Digest::of(&records::write(values)?);
        if revision < self.newest() || *self.0.entry(revision).or_insert(values) != values {
            let detail = format!("Revision {revision} of the settings was tried with other values.");
            return Err(Problem::new(Code::NotReady, detail).hint("do it again: it gets another revision").into());
        }
        Ok(())
    }

    /// Drops revisions without running instances: the revisions of an environment created again under the same name
    /// start at 1.
    fn keep(&mut self, running: &BTreeSet<u64>) {
        self.0.retain(|revision, _| running.contains(revision));
    }
}

/// Turn of an environment on this node.
pub(crate) type Turn = Arc<tokio::sync::Mutex<TriedRevisions>>;

/// Turns of this node.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<(AppName, PlaceName), Turn>>);

impl Turns {
    /// Returns the turn of an environment. `running` returns the settings revisions of the running instances of an
    /// environment.
    fn of(
        &self,
        (app, environment): (&AppName, &PlaceName),
        running: impl Fn(&AppName, &PlaceName) -> BTreeSet<u64>,
    ) -> Turn {
        let mut all = self.0.lock();
        // Turns without a holder and without running instances are dropped, and created again on demand.
        all.retain(|(app, environment), turn| {
            let Ok(mut begun) = turn.try_lock() else { return true };
            if !begun.0.is_empty() {
                begun.keep(&running(app, environment));
            }
            Arc::strong_count(turn) > 1 || !begun.0.is_empty()
        });
        Arc::clone(all.entry((app.clone(), environment.clone())).or_default())
    }
}

/// Guard of a turn, released on drop.
pub(crate) struct TurnGuard {
    pub(crate) begun: OwnedMutexGuard<TriedRevisions>,
    /// Turn of the cluster; lost with the lease of this node.
    _duty: Option<Duty>,
}

impl Instances {
    /// Takes the turn of an environment on all nodes, for as long as this node holds the lease. Waits for another node
    /// up to the sum of `release_ms_max` and `instance_start_ms_max`.
    ///
    /// # Errors
    /// `busy` if another node is not done in time; errors of the catalog.
    pub(crate) async fn take_turn(&self, app: &AppName, environment: &PlaceName) -> Result<TurnGuard, Error> {
        // Taken before the turn of this node: the node with the turn of the cluster needs the local turns of other
        // nodes.
        let duty = match &self.nodes {
            Some(nodes) => Some(self.take_from_others(nodes, app, environment).await?),
            None => None,
        };
        Ok(TurnGuard { _duty: duty, ..self.take_turn_here(app, environment).await })
    }

    /// Takes the turn of an environment on this node only.
    pub(crate) async fn take_turn_here(&self, app: &AppName, environment: &PlaceName) -> TurnGuard {
        let running = |app: &AppName, environment: &PlaceName| {
            self.runner_if_any().map(|runner| runner.settings_revisions(app, environment)).unwrap_or_default()
        };
        let turn = self.turns.of((app, environment), running);
        let mut begun = turn.lock_owned().await;
        begun.keep(&running(app, environment));
        TurnGuard { begun, _duty: None }
    }

    async fn take_from_others(&self, nodes: &Nodes, app: &AppName, environment: &PlaceName) -> Result<Duty, Error> {
        let duty = format!("turn/{app}/{environment}");
        let take = async {
            loop {
                // The check comes first, because taking the duty is a commit.
                if !nodes.is_duty_taken(&duty).await?
                    && let Some(duty) = nodes.take_duty(&duty).await?
                {
                    return Ok(duty);
                }
                sleep(LOOK).await;
            }
        };
        let limits = self.ledger.limits();
        let within = Duration::from_millis(limits.release_ms_max.saturating_add(limits.instance_start_ms_max));
        match timeout(within, take).await {
            Ok(taken) => taken.map_err(cluster::Error::into_problem),
            Err(_elapsed) => {
                let detail = format!("Another node has been changing {environment} of {app} for a long time.");
                Err(Problem::new(Code::Busy, detail).hint("look at `devanture status`, then do it again").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("NAME".to_owned(), value.to_owned())])
    }

    #[test]
    fn a_revision_is_tried_with_one_set_of_values() {
        let mut begun = TriedRevisions::default();
        assert!(begun.begin(4, &values("a")).is_ok() && begun.begin(4, &values("a")).is_ok());
        for revision in [3, 4] {
            let Error(problem) = begun.begin(revision, &values("b")).unwrap_err();
            assert_eq!(problem.code, Code::NotReady);
        }
        assert!(begun.begin(5, &values("b")).is_ok());
        assert_eq!(begun.newest(), 5);
    }

    #[test]
    fn revisions_of_an_environment_that_is_made_again_are_tried_with_other_values() {
        let mut begun = TriedRevisions::default();
        for revision in [1, 2, 7] {
            begun.begin(revision, &values("a")).unwrap();
        }
        // A running instance keeps its revision.
        begun.keep(&[2].into());
        assert_eq!(begun.newest(), 2);
        assert!(begun.begin(1, &values("b")).is_err() && begun.begin(2, &values("b")).is_err());
        begun.keep(&BTreeSet::new());
        assert!(begun.newest() == 0 && begun.begin(1, &values("b")).is_ok());
    }

    #[test]
    fn turns_of_environments_that_are_gone_are_forgotten() {
        let (turns, prod): (Turns, _) = (Turns::default(), PlaceName::prod());
        let [one, two, three]: [AppName; 3] = ["one", "two", "three"].map(|name| name.parse().unwrap());
        let running = |app: &AppName, _: &PlaceName| if *app == two { BTreeSet::from([3]) } else { BTreeSet::new() };
        for app in [&one, &two] {
            let turn = turns.of((app, &prod), |_, _| BTreeSet::from([3]));
            turn.try_lock().unwrap().begin(3, &values("a")).unwrap();
        }
        let _in_hand = turns.of((&three, &prod), running);
        let known: BTreeSet<AppName> = turns.0.lock().keys().map(|(app, _)| app.clone()).collect();
        assert_eq!(known, [two.clone(), three].into());
    }
}
