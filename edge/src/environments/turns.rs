//! Turns: whatever starts instances of an environment with other settings, or runs its `release`, does so one after the
//! other, on all nodes of a cluster.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName};
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};

use super::Environments;
use crate::cluster::{self, Nodes};
use crate::ledger::{Duty, Error};
use crate::records;

/// Pause between two looks whether another node is done.
const LOOK: Duration = Duration::from_millis(100);

/// The newest settings that instances of an environment were started with on this node before they were stored.
#[derive(Default)]
pub(crate) struct Begun {
    /// Their revision; 0 before any.
    pub(super) revision: u64,
    /// The digest of their values.
    values: Option<Digest>,
}

impl Begun {
    /// Notes that instances are started with `values` as those of a revision. No revision has two sets of values here,
    /// also where the first one never was stored: instances of it may still run.
    ///
    /// # Errors
    /// `not_ready`.
    pub(super) fn begin(&mut self, revision: u64, values: &BTreeMap<String, String>) -> Result<(), Error> {
        let values = Digest::of(&records::write(values)?);
        if revision < self.revision || revision == self.revision && self.values != Some(values) {
            let detail = format!("Revision {revision} of the settings was tried with other values.");
            return Err(Problem::new(Code::NotReady, detail).hint("do it again: it gets another revision").into());
        }
        *self = Self { revision, values: Some(values) };
        Ok(())
    }
}

/// The turn of one environment on this node.
type Turn = Arc<tokio::sync::Mutex<Begun>>;

/// The turns of this node.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<(AppName, PlaceName), Turn>>);

impl Turns {
    fn of(&self, app: &AppName, environment: &PlaceName) -> Turn {
        let mut all = self.0.lock();
        // Those that nobody has in hand and that started nothing are made again as they are needed.
        all.retain(|_, turn| Arc::strong_count(turn) > 1 || turn.try_lock().is_ok_and(|begun| begun.revision > 0));
        Arc::clone(all.entry((app.clone(), environment.clone())).or_default())
    }
}

/// A turn that was taken, until it is dropped.
pub(crate) struct TakenTurn {
    pub(super) begun: OwnedMutexGuard<Begun>,
    /// That of the cluster; it is lost with the lease of this node.
    _duty: Option<Duty>,
}

impl Environments {
    /// Takes the turn of an environment on all nodes, for as long as this one keeps its lease. Another node is waited
    /// for as long as `release_ms_max` and `instance_start_ms_max` say together.
    ///
    /// # Errors
    /// `busy` where another node is not done by then; where the catalog cannot be reached.
    pub(crate) async fn take_turn(&self, app: &AppName, environment: &PlaceName) -> Result<TakenTurn, Error> {
        // Before the turn of this node, which another node needs that has the cluster's.
        let duty = match &self.instances.nodes {
            Some(nodes) => Some(self.take_from_others(nodes, app, environment).await?),
            None => None,
        };
        Ok(TakenTurn { _duty: duty, ..self.take_turn_here(app, environment).await })
    }

    /// Takes the turn of an environment on this node alone.
    pub(super) async fn take_turn_here(&self, app: &AppName, environment: &PlaceName) -> TakenTurn {
        let turn = self.instances.turns.of(app, environment);
        TakenTurn { begun: turn.lock_owned().await, _duty: None }
    }

    async fn take_from_others(&self, nodes: &Nodes, app: &AppName, environment: &PlaceName) -> Result<Duty, Error> {
        let duty = format!("turn/{app}/{environment}");
        let take = async {
            loop {
                // Looked at first, since to take it is a commit.
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

    #[test]
    fn a_revision_is_tried_with_one_set_of_values() {
        let values = |value: &str| BTreeMap::from([("NAME".to_owned(), value.to_owned())]);
        let mut begun = Begun::default();
        assert!(begun.begin(4, &values("a")).is_ok() && begun.begin(4, &values("a")).is_ok());
        for revision in [3, 4] {
            let Error(problem) = begun.begin(revision, &values("b")).unwrap_err();
            assert_eq!(problem.code, Code::NotReady);
        }
        assert!(begun.begin(5, &values("b")).is_ok());
        assert_eq!(begun.revision, 5);
    }
}
