//! Recent traffic of an environment's versions on all nodes, with the switches in between.

use std::collections::BTreeMap;

use devanture_config::api::{DeployKind, Latency, Outcome, Traffic, TrafficPoint, TrafficSwitch, VersionTraffic};
use devanture_config::{AppName, PlaceName, VersionId};

use super::publisher::Publisher;
use crate::cluster::{EnvironmentQuery, EnvironmentReport, QuerySubject};
use crate::ledger::{Error, Page};
use devanture_base::clock;
use devanture_base::telemetry::{TrafficFigures, TrafficSpan};

/// History entries searched for switches.
const ENTRIES_MAX: usize = 1_000;

/// Requested chart.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrafficWanted {
    /// Start, in milliseconds since 1970 UTC; by default one hour before the end.
    pub from_ms: Option<u64>,
    /// End; by default the present.
    pub to_ms: Option<u64>,
    /// Step in seconds; by default the shortest.
    pub step_s: Option<u64>,
}

/// Default duration.
const DEFAULT_MS: u64 = 3_600_000;

impl Publisher {
    /// Returns the traffic of an environment's versions. Traffic from before the creation of the app belongs to a
    /// previous owner and is omitted.
    ///
    /// # Errors
    /// `not_found`; errors of the catalog.
    pub async fn traffic(
        &self,
        app: &AppName,
        environment: &PlaceName,
        wanted: TrafficWanted,
    ) -> Result<Traffic, Error> {
        let made_ms = self.ledger.app_made_ms(app).await?;
        // The clock used for counting requests.
        let now_ms = clock::settled_ms();
        let to_ms = wanted.to_ms.unwrap_or(now_ms).min(now_ms);
        let from_ms = wanted.from_ms.unwrap_or_else(|| to_ms.saturating_sub(DEFAULT_MS)).max(made_ms).min(to_ms);
        let end_s = to_ms.div_ceil(1_000).max(from_ms / 1_000 + 1);
        let span = TrafficSpan::of(from_ms / 1_000, end_s, wanted.step_s.unwrap_or(1), now_ms / 1_000);
        // The first step may begin before the creation of the app.
        let span = span.since(made_ms / 1_000);
        let query = EnvironmentQuery {
            app: app.clone(),
            environment: environment.clone(),
            subject: QuerySubject::Traffic(span),
        };
        let (found, missing) = self.query_environment(&query).await?;
        Ok(Traffic {
            app: app.clone(),
            environment: environment.clone(),
            from_ms: span.from_s.saturating_mul(1_000),
            to_ms: span.to_s.saturating_mul(1_000),
            step_s: span.step_s,
            points: self.points(app, found).await?,
            switches: self.switches(app, environment, span).await?,
            missing,
        })
    }

    /// Sums the points of all nodes.
    async fn points(&self, app: &AppName, found: Vec<EnvironmentReport>) -> Result<Vec<TrafficPoint>, Error> {
        let mut steps: BTreeMap<u64, BTreeMap<String, TrafficFigures>> = BTreeMap::new();
        for row in found.into_iter().flat_map(|report| report.traffic) {
            steps.entry(row.at_s).or_default().entry(row.version).or_default().add(&row.figures);
        }
        let mut ids: BTreeMap<String, Option<VersionId>> = BTreeMap::new();
        for short in steps.values().flat_map(BTreeMap::keys) {
            if !ids.contains_key(short) {
                ids.insert(short.clone(), self.ledger.resolve_version(app, short).await.ok());
            }
        }
        let named = |(short, figures): (String, TrafficFigures)| VersionTraffic {
            version: ids.get(&short).copied().flatten().map_or(short, |id| id.to_string()),
            requests: figures.requests,
            errors: figures.errors,
            client_errors: figures.client_errors,
            bytes: figures.bytes,
            bytes_saved: figures.saved,
            latency_ms: Latency { p50: figures.latency_ms(50), p99: figures.latency_ms(99) },
        };
        let point = |(at_s, versions): (u64, BTreeMap<String, TrafficFigures>)| TrafficPoint {
            at_ms: at_s.saturating_mul(1_000),
            versions: versions.into_iter().map(named).collect(),
        };
        Ok(steps.into_iter().map(point).collect())
    }

    /// Returns the switches in a time span, among the last [`ENTRIES_MAX`] entries of the history.
    async fn switches(
        &self,
        app: &AppName,
        environment: &PlaceName,
        span: TrafficSpan,
    ) -> Result<Vec<TrafficSwitch>, Error> {
        let page = Page { limit: ENTRIES_MAX, after: None, cursor: "before" };
        let history = self.ledger.history(app, environment, &page).await?;
        let is_within = |at_ms: u64| at_ms / 1_000 >= span.from_s && at_ms / 1_000 < span.to_s;
        let switches = history.deploys.into_iter().filter(|deploy| {
            let is_switch = deploy.outcome == Outcome::Live
                && matches!(
                    deploy.kind,
                    DeployKind::Push | DeployKind::Switch | DeployKind::Rollback | DeployKind::Promote
                );
            is_switch && is_within(deploy.at_ms)
        });
        let mut switches: Vec<TrafficSwitch> = switches
            .map(|deploy| TrafficSwitch { at_ms: deploy.at_ms, version: deploy.version, deploy: deploy.id })
            .collect();
        switches.reverse();
        Ok(switches)
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;

    use super::*;
    use crate::publish::tests::publisher;
    use devanture_store::catalog::{Change, Commit};
    use devanture_store::records::history::pushed;
    use devanture_store::records::{self, AppRecord, HistoryEntry, StoredDeploy};

    /// Returns the ids of the switches in a chart from `from_ms` to `to_ms`. Each history entry has time, kind and
    /// outcome; its id is its position, from 1 on.
    async fn switches(entries: &[(u64, DeployKind, Outcome)], from_ms: u64, to_ms: u64) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let (publisher, catalog) = publisher(folder.path());
        let (app, prod): (AppName, _) = ("shop".parse().unwrap(), PlaceName::prod());
        let made = AppRecord { created_ms: 1, who: String::new() };
        let mut changes = vec![Change::Put(records::app_key(&app), records::write(&made).unwrap())];
        for (number, (at_ms, kind, outcome)) in (1_u64..).zip(entries.iter().copied()) {
            let position = records::history_key(&app, &prod, number);
            let deploy = pushed(Digest::of(&number.to_le_bytes()));
            let entry = HistoryEntry {
                deploy: StoredDeploy {
                    id: number.to_string(),
                    at_ms,
                    kind: kind.into(),
                    outcome: outcome.into(),
                    ..deploy
                },
                position: position.clone(),
            };
            changes.push(Change::Put(position, records::write(&entry).unwrap()));
        }
        catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        let wanted = TrafficWanted { from_ms: Some(from_ms), to_ms: Some(to_ms), step_s: None };
        let chart = publisher.traffic(&app, &prod, wanted).await.unwrap();
        chart.switches.into_iter().map(|switch| switch.deploy).collect()
    }

    /// Beginning of a complete minute.
    fn minute_ms() -> u64 {
        let ago_ms = clock::settled_ms() - 600_000;
        ago_ms - ago_ms % 60_000
    }

    #[tokio::test]
    async fn a_chart_has_the_switches_from_its_beginning_until_before_its_end() {
        let begin_ms = minute_ms();
        let at = |second: u64| (begin_ms + second * 1_000, DeployKind::Push, Outcome::Live);
        let before = (begin_ms - 1, DeployKind::Push, Outcome::Live);
        let entries = [before, at(0), at(59), at(60), at(90)];
        assert_eq!(switches(&entries, begin_ms, begin_ms + 60_000).await, ["2", "3"]);
        // A moment falls into its second.
        assert_eq!(switches(&entries, begin_ms, begin_ms).await, ["2"]);
    }

    #[tokio::test]
    async fn a_chart_shows_what_made_another_version_live_and_nothing_else_of_the_history() {
        use DeployKind::{Delete, Pause, Promote, Push, Rollback, Settings, Switch};
        let begin_ms = minute_ms();
        let entries = [
            (begin_ms, Push, Outcome::Live),
            (begin_ms, Switch, Outcome::Live),
            (begin_ms, Rollback, Outcome::Live),
            (begin_ms, Promote, Outcome::Live),
            (begin_ms, Push, Outcome::Failed),
            (begin_ms, Push, Outcome::Stored),
            (begin_ms, Push, Outcome::Superseded),
            (begin_ms, Rollback, Outcome::Failed),
            (begin_ms, Pause, Outcome::Done),
            (begin_ms, Settings, Outcome::Done),
            (begin_ms, Delete, Outcome::Done),
        ];
        assert_eq!(switches(&entries, begin_ms, begin_ms + 60_000).await, ["1", "2", "3", "4"]);
    }
}
