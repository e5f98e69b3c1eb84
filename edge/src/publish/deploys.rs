//! What became of a deploy: the latest ones in memory, with their steps as they happen; older ones from the history.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devanture_config::api::{Deploy, DeployReport, DeployState, DeployStatus, Step, StepState};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};

use super::Publisher;
use crate::catalog::records;
use crate::ledger::Error;

/// Deploys that are remembered.
const REMEMBERED_MAX: usize = 1_000;
/// Entries of one environment's history in which a deploy is looked for, from the moment on at which it began.
const ENTRIES_MAX: usize = 1_000;
/// Environments in which a deploy is looked for.
const ENVIRONMENTS_MAX: usize = 1_000;
/// Hexadecimal digits of a push's id that are random; what stands before them is when it began.
const RANDOM_DIGITS: usize = 8;

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn find(&self, app: &AppName, id: &str) -> Option<DeployStatus> {
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

impl Publisher {
    /// Where a deploy of an app is.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn deploy_status(&self, app: &AppName, id: &str) -> Result<DeployStatus, Error> {
        if let Some(status) = self.deploys.find(app, id) {
            return Ok(status);
        }
        if let Ok(push) = self.uploads.pushes.find(app, id) {
            return Ok(DeployStatus {
                deploy: push.id.clone(),
                app: push.app.clone(),
                environment: push.environment.clone(),
                state: DeployState::Begun,
                version: Some(push.version),
                steps: Vec::new(),
                report: None,
                problem: None,
            });
        }
        match self.find_in_history(app, id).await? {
            Some(deploy) => Ok(DeployStatus {
                deploy: deploy.id,
                app: app.clone(),
                environment: deploy.environment,
                state: deploy.outcome.into(),
                version: Some(deploy.version),
                steps: deploy.steps,
                report: None,
                problem: None,
            }),
            None => Err(Problem::new(Code::NotFound, format!("The app {app} has no such deploy."))
                .hint("`devanture history` lists those that ended; one that failed before it had a version is not kept")
                .into()),
        }
    }

    /// A deploy's entry: it was written soon after the deploy began, which its id tells.
    async fn find_in_history(&self, app: &AppName, id: &str) -> Result<Option<Deploy>, Error> {
        let Some(begun) = begun_of(id) else { return Ok(None) };
        let prefix = records::histories_prefix(app);
        let mut after: Option<String> = None;
        for _ in 0..ENVIRONMENTS_MAX {
            let next = self.catalog.list(&prefix, after.as_deref(), false, 1).await?;
            let environment =
                next.first().and_then(|(key, _)| key.strip_prefix(&prefix)?.split('/').next()?.parse().ok());
            let Some(environment) = environment else { return Ok(None) };
            let from = records::history_key(app, &environment, begun.saturating_sub(1));
            let below = records::history_prefix(app, &environment);
            for (key, record) in self.catalog.list(&below, Some(&from), false, ENTRIES_MAX).await? {
                let Some(entry) = records::entry(&key, &record) else { continue };
                if entry.deploy.id == id {
                    return Ok(Some(entry.deploy));
                }
            }
            // Beyond every number of this environment.
            after = Some(format!("{below}~"));
        }
        Ok(None)
    }
}

/// When a deploy began, as its id says.
fn begun_of(id: &str) -> Option<u64> {
    let is_hex = id.len() <= 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // The number of microseconds has 13 digits until the year 2112.
    let digits = if id.len() > 13 { id.len().saturating_sub(RANDOM_DIGITS) } else { id.len() };
    is_hex.then(|| u64::from_str_radix(id.get(..digits)?, 16).ok()).flatten()
}
