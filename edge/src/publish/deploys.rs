//! The latest deploys in memory, with their steps as they happen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use devanture_config::api::{DeployReport, DeployState, DeployStatus, Step, StepState};
use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName, VersionId};
use parking_lot::{Mutex, MutexGuard};

use crate::ledger::Error;

/// Deploys that are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// The latest deploys.
#[derive(Default)]
pub(crate) struct Deploys(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    by_id: HashMap<String, DeployStatus>,
    /// Oldest first.
    order: VecDeque<String>,
}

/// One of them, for the task that runs it.
#[derive(Clone)]
pub(crate) struct Watched {
    deploys: Arc<Deploys>,
    id: String,
}

impl Deploys {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock()
    }

    /// Begins to remember a deploy whose steps are about to run.
    pub(crate) fn open(
        self: &Arc<Self>,
        id: &str,
        app: &AppName,
        environment: &PlaceName,
        version: Option<VersionId>,
    ) -> Watched {
        let status = DeployStatus {
            deploy: id.to_owned(),
            app: app.clone(),
            environment: environment.clone(),
            state: DeployState::Running,
            version,
            steps: Vec::new(),
            report: None,
            problem: None,
        };
        let mut remembered = self.remembered();
        if remembered.by_id.insert(id.to_owned(), status).is_none() {
            remembered.order.push_back(id.to_owned());
        }
        while remembered.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = remembered.order.pop_front() {
                remembered.by_id.remove(&oldest);
            }
        }
        Watched { deploys: Arc::clone(self), id: id.to_owned() }
    }

    /// Those that have not ended.
    pub(crate) fn running(&self) -> Vec<DeployStatus> {
        let remembered = self.remembered();
        remembered.by_id.values().filter(|status| status.state == DeployState::Running).cloned().collect()
    }

    pub(crate) fn find(&self, app: &AppName, id: &str) -> Option<DeployStatus> {
        self.remembered().by_id.get(id).filter(|status| status.app == *app).cloned()
    }
}

impl Watched {
    fn change(&self, change: impl FnOnce(&mut DeployStatus)) {
        if let Some(status) = self.deploys.remembered().by_id.get_mut(&self.id) {
            change(status);
        }
    }

    /// Notes a step that began or ended.
    pub(crate) fn step(&self, step: &Step) {
        self.change(|status| match status.steps.last_mut() {
            Some(last) if last.name == step.name && last.state == StepState::Started => *last = step.clone(),
            _ => status.steps.push(step.clone()),
        });
    }

    /// Notes which version it is.
    pub(crate) fn version_is(&self, version: VersionId) {
        self.change(|status| status.version = Some(version));
    }

    /// Notes how it ended.
    pub(crate) fn ended(&self, result: &Result<DeployReport, Error>) {
        self.change(|status| match result {
            Ok(report) => {
                // What was live already is live, too.
                let is_live = report.switched || report.previous == Some(report.version);
                status.state = if is_live { DeployState::Live } else { DeployState::Stored };
                status.version = Some(report.version);
                status.report = Some(Box::new(report.clone()));
            }
            Err(error) if error.0.code == Code::BlobMissing => status.state = DeployState::Begun,
            Err(error) => {
                let superseded = error.0.code == Code::Superseded;
                status.state = if superseded { DeployState::Superseded } else { DeployState::Failed };
                status.problem = Some(error.0.clone());
            }
        });
    }
}
