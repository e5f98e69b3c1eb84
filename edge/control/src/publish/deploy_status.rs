//! Status of a deploy: recent deploys from memory, older deploys from the history.

use devanture_config::AppName;
use devanture_config::api::{Deploy, DeployState, DeployStatus};
use devanture_config::problem::{Code, Problem};

use super::publisher::Publisher;
use crate::ledger::Error;
use crate::switch::begun_of;
use devanture_store::records;

/// History entries of an environment searched for a deploy, from its start on.
const ENTRIES_MAX: usize = 1_000;
/// Environments searched for a deploy.
const ENVIRONMENTS_MAX: usize = 1_000;

impl Publisher {
    /// Returns the status of a deploy.
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

    /// Finds the history entry of a deploy: written soon after the start, which is part of the id.
    async fn find_in_history(&self, app: &AppName, id: &str) -> Result<Option<Deploy>, Error> {
        let Some(begun) = begun_of(id) else { return Ok(None) };
        let prefix = records::histories_prefix(app);
        let mut after: Option<String> = None;
        for _ in 0..ENVIRONMENTS_MAX {
            let next = self.ledger.catalog.list(&prefix, after.as_deref(), false, 1).await?;
            let environment =
                next.first().and_then(|(key, _)| key.strip_prefix(&prefix)?.split('/').next()?.parse().ok());
            let Some(environment) = environment else { return Ok(None) };
            let from = records::history_key(app, &environment, begun.saturating_sub(1));
            let below = records::history_prefix(app, &environment);
            for (key, record) in self.ledger.catalog.list(&below, Some(&from), false, ENTRIES_MAX).await? {
                let Some(entry) = records::entry(&key, &record) else { continue };
                if entry.deploy.id == id {
                    return Ok(Some(entry.deploy.into()));
                }
            }
            // Sorts after every number of the environment.
            after = Some(format!("{below}~"));
        }
        Ok(None)
    }
}
