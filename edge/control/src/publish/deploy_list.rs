//! Deploys of an environment, running on any node or recorded in the history; progress of a single deploy.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use devanture_base::telemetry;
use devanture_config::api::{
    Deploy, DeployEntry, DeployEvent, DeployKind, DeployList, DeployState, DeployStatus, History, Step,
};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName};
use devanture_store::records;
use tokio::sync::watch;
use tokio::time::timeout;

use super::publisher::Publisher;
use super::uploads::Uploads;
use crate::cluster::{self, EnvironmentQuery, EnvironmentReport, QuerySubject};
use crate::ledger::{Error, Page};
use crate::switch::{Deploys, Origin, begun_of, started_ms};

/// Most listed deploys of a node outside the history.
const WITHOUT_HISTORY_MAX: usize = 100;
/// Longest wait of a follower between two polls.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Reports the node's deploys of an environment.
pub(super) fn report_here(query: &EnvironmentQuery, deploys: &Deploys, uploads: &Uploads) -> EnvironmentReport {
    let (app, environment) = (&query.app, &query.environment);
    match &query.subject {
        QuerySubject::Traffic(span) => EnvironmentReport {
            traffic: telemetry::traffic(app.as_str(), environment.as_str(), *span),
            ..EnvironmentReport::default()
        },
        QuerySubject::Integrity => EnvironmentReport {
            integrity: telemetry::integrity_reports(app.as_str(), environment.as_str()),
            ..EnvironmentReport::default()
        },
        QuerySubject::Deploys => {
            let mut found = deploys.without_history(app, environment);
            found.extend(uploads.pushes.of_place(app, environment).iter().map(|push| {
                let by = Origin::of(&push.actor, &push.source, push.options.reason.as_deref());
                by.entry(&push.id, DeployState::Begun, Some(push.version))
            }));
            newest_first(&mut found);
            found.truncate(WITHOUT_HISTORY_MAX);
            EnvironmentReport { deploys: found, ..EnvironmentReport::default() }
        }
    }
}

/// Merges the deploys reported by all nodes, newest first.
fn merged(reports: Vec<EnvironmentReport>) -> Vec<DeployEntry> {
    let mut deploys: Vec<DeployEntry> = reports.into_iter().flat_map(|report| report.deploys).collect();
    newest_first(&mut deploys);
    deploys
}

fn newest_first(deploys: &mut [DeployEntry]) {
    deploys.sort_by(|a, b| b.started_ms.cmp(&a.started_ms).then_with(|| a.deploy.cmp(&b.deploy)));
}

impl Publisher {
    /// Returns the reports of all nodes on an environment, and the names of unreachable nodes.
    ///
    /// # Errors
    /// `busy` if the app queries too much at once; errors of the catalog.
    pub(super) async fn query_environment(
        &self,
        query: &EnvironmentQuery,
    ) -> Result<(Vec<EnvironmentReport>, Vec<String>), Error> {
        let (mut found, missing) = match &self.switcher.nodes {
            Some(nodes) => {
                let _place = self.queries.take(&query.app)?;
                nodes.query_environment(query).await.map_err(cluster::Error::into_problem)?
            }
            None => (Vec::new(), Vec::new()),
        };
        found.push(report_here(query, &self.deploys, &self.uploads));
        Ok((found, missing))
    }

    /// Returns a page of an environment's deploys, newest first. Deploys outside the history are on the first page.
    ///
    /// # Errors
    /// `not_found` for an unknown app without a push that creates the app; `bad_request` for an invalid cursor.
    pub async fn deploys(&self, app: &AppName, environment: &PlaceName, page: &Page) -> Result<DeployList, Error> {
        let mut list = DeployList::default();
        if page.after.is_none() {
            let query =
                EnvironmentQuery { app: app.clone(), environment: environment.clone(), subject: QuerySubject::Deploys };
            let (found, missing) = self.query_environment(&query).await?;
            list.deploys = merged(found);
            list.missing = missing;
        }
        // A first push creates the app only at its end.
        if list.deploys.is_empty() || self.ledger.app_exists(app).await? {
            let made_ms = self.ledger.app_made_ms(app).await?;
            // Earlier failures may belong to a previous owner (law 11); failures with a version are in the history.
            let is_missing = |entry: &DeployEntry| entry.version.is_none() && entry.started_ms >= made_ms;
            list.deploys.retain(|entry| entry.state != DeployState::Failed || is_missing(entry));
            let History { deploys, next, .. } = self.ledger.history(app, environment, page).await?;
            // A deploy that has just ended is in both lists.
            let recorded: HashSet<&str> = deploys.iter().map(|deploy| deploy.id.as_str()).collect();
            list.deploys.retain(|entry| !recorded.contains(entry.deploy.as_str()));
            list.deploys.extend(deploys.into_iter().filter(is_deploy).map(entry_of));
            list.next = next;
        }
        Ok(list)
    }

    /// Follows a deploy from its first step. Yields `None` at the end, and for a forgotten deploy.
    #[must_use]
    pub fn follow_deploy(self: &Arc<Self>, app: &AppName, id: &str) -> DeployFollower {
        DeployFollower {
            changes: self.deploys.changes(),
            publisher: Arc::clone(self),
            app: app.clone(),
            id: id.to_owned(),
            sent: Vec::new(),
            events: VecDeque::new(),
            is_over: false,
        }
    }
}

/// Returns true if a history entry is an attempt to make a version live.
const fn is_deploy(deploy: &Deploy) -> bool {
    matches!(deploy.kind, DeployKind::Push | DeployKind::Switch | DeployKind::Rollback | DeployKind::Promote)
}

fn entry_of(deploy: Deploy) -> DeployEntry {
    DeployEntry {
        started_ms: started_ms(&deploy.id).min(deploy.at_ms),
        deploy: deploy.id,
        kind: deploy.kind,
        state: deploy.outcome.into(),
        version: Some(deploy.version),
        ended_ms: Some(deploy.at_ms),
        who: deploy.who,
        commit: deploy.source.commit,
        message: deploy.source.message,
        reason: deploy.reason,
        step: None,
        steps: deploy.steps,
        error: deploy.problem,
    }
}

/// Events of a deploy, as sent by `finish`.
pub struct DeployFollower {
    publisher: Arc<Publisher>,
    app: AppName,
    id: String,
    changes: watch::Receiver<()>,
    /// Last reported steps.
    sent: Vec<Step>,
    events: VecDeque<DeployEvent>,
    is_over: bool,
}

impl DeployFollower {
    /// Returns the next event; `None` at the end.
    pub async fn next(&mut self) -> Option<DeployEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            // Marked as seen before the query, so that no change in between is lost.
            self.changes.borrow_and_update();
            self.look().await;
            if self.events.is_empty() && !self.is_over {
                timeout(LOOK_AGAIN, self.changes.changed()).await.ok();
            }
        }
    }

    async fn look(&mut self) {
        if let Some(status) = self.publisher.deploys.find(&self.app, &self.id) {
            self.note(status);
            return;
        }
        if self.publisher.uploads.pushes.is_there(&self.app, &self.id) {
            return;
        }
        // The deploy ended before the process started, or was never finished.
        self.is_over = true;
        if let Ok(status) = self.publisher.deploy_status(&self.app, &self.id).await {
            self.note(status);
            self.is_over = true;
        }
    }

    /// Queues new events.
    fn note(&mut self, status: DeployStatus) {
        let DeployStatus { state, steps, report, problem, .. } = status;
        let news = steps.iter().enumerate().filter(|(number, step)| self.sent.get(*number) != Some(*step));
        self.events.extend(news.map(|(_, step)| DeployEvent::Step(step.clone())));
        self.sent = steps;
        // A push that lacks a blob continues once the blob is sent.
        self.is_over = !matches!(state, DeployState::Begun | DeployState::Running);
        if self.is_over {
            let done = report.map(DeployEvent::Done).or_else(|| problem.map(DeployEvent::Problem));
            self.events.extend(done);
        }
    }
}

// Status of a deploy: recent deploys from memory, older deploys from the history.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_deploy_comes_first() {
        let entry = |id: &str| Origin::default().entry(id, DeployState::Running, None);
        // Ids begin with microseconds since 1970; ids of pushes end with the node tag and two random digits.
        let mut list = [entry("641a2b3c4d5e6"), entry("641a2b3c4ffff00000000"), entry("x")];
        newest_first(&mut list);
        let ids: Vec<&str> = list.iter().map(|entry| entry.deploy.as_str()).collect();
        assert_eq!(ids, ["641a2b3c4ffff00000000", "641a2b3c4d5e6", "x"]);
        assert_eq!(list[2].started_ms, 0);
    }

    #[test]
    fn the_deploys_of_all_nodes_are_in_one_order() {
        let node = |ids: &[&str]| {
            let entries = ids.iter().map(|id| Origin::default().entry(id, DeployState::Running, None));
            EnvironmentReport { deploys: entries.collect(), ..EnvironmentReport::default() }
        };
        let list = merged(vec![node(&["641a2b3c8d5e6", "641a2b3c5d5e6"]), node(&["641a2b3c9d5e6", "641a2b3c4d5e6"])]);
        let ids: Vec<&str> = list.iter().map(|entry| entry.deploy.as_str()).collect();
        assert_eq!(ids, ["641a2b3c9d5e6", "641a2b3c8d5e6", "641a2b3c5d5e6", "641a2b3c4d5e6"]);
    }
}
