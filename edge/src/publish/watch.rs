//! Watches an environment after a switch, and undoes the switch by itself when errors rise.
//!
//! A watch lives in this process alone: it goes on when its client is gone, and ends with the process, which leaves
//! live what is live.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::api::{DeployKind, Source};
use devanture_config::counted;
use devanture_config::edge_toml::Watch;
use devanture_config::logs::LogFilter;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, PlaceName, VersionId};
use futures_util::FutureExt as _;
use metrics::counter;

use super::Publisher;
use super::smoke::printable;
use super::steps::{Steps, Teller};
use super::swap::{Intent, Moved, Undone};
use crate::catalog::records::LivePointer;
use crate::ledger::{Actor, Condition, Error, Share};
use crate::telemetry::{Answers, LogReader, LogTold, LogWanted};

/// How often the answers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Interval of progress reports.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Paths of bad answers that are counted apart.
const PATHS_MAX: usize = 1_000;
/// Of these, the ones that are reported.
const PATHS_TOLD: usize = 5;
/// Characters of a path that are shown.
const PATH_CHARACTERS: usize = 120;

/// A place among the switches that are watched at once, and for how long.
pub(crate) struct Watching {
    span: Duration,
    _share: Share,
}

/// A share of bad answers that has risen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rise {
    /// `404` or `5xx`.
    kind: &'static str,
    before: (u64, u64),
    after: (u64, u64),
}

/// A switch that may be undone.
pub(super) struct Switched {
    pub(super) app: AppName,
    pub(super) environment: PlaceName,
    pub(super) version: VersionId,
    pub(super) deploy: String,
    pub(super) actor: Actor,
}

impl Switched {
    pub(super) fn of(intent: &Intent<'_>) -> Self {
        Self {
            app: intent.app.clone(),
            environment: intent.environment.clone(),
            version: intent.version,
            deploy: intent.deploy.to_owned(),
            actor: intent.actor.clone(),
        }
    }
}

/// How a watch ended.
enum Ended {
    /// Nothing rose.
    Well(Answers),
    /// Something else went live.
    Elsewhere,
    /// The edge ends, and leaves live what is live.
    Stopping,
    Rose(Rise),
}

impl Publisher {
    /// Prepares the watch of a switch, before anything happens.
    ///
    /// # Errors
    /// `bad_request` beyond the limit, `busy` where as many are watched as may be.
    pub(crate) fn begin_watch(&self, app: &AppName, watch_s: Option<u64>) -> Result<Option<Watching>, Error> {
        self.check_watch(watch_s)?;
        let Some(seconds) = watch_s else { return Ok(None) };
        let share = self.watches.take(app).ok_or_else(|| {
            let detail = format!("The edge watches no more switches of the app {app} now.");
            let hint = "try again in a moment; `watches_max` in edge.toml is the limit, and half of it for one app";
            Problem::new(Code::Busy, detail).hint(hint)
        })?;
        Ok(Some(Watching { span: Duration::from_secs(seconds), _share: share }))
    }

    /// Checks for how long a switch is to be watched.
    ///
    /// # Errors
    /// `bad_request`.
    pub(crate) fn check_watch(&self, watch_s: Option<u64>) -> Result<(), Error> {
        let max = self.limits.watch_s_max;
        if watch_s.is_none_or(|seconds| (1..=max).contains(&seconds)) {
            return Ok(());
        }
        let detail = format!("`watch_s` is a number of seconds from 1 to {max}.");
        Err(Problem::new(Code::BadRequest, detail).hint("`watch_s_max` in edge.toml is the limit").into())
    }

    /// Makes a version live, and watches it where that is wanted.
    ///
    /// # Errors
    /// As [`Publisher::make_live`], and `watch_failed` where errors rose and the switch was undone.
    pub(crate) async fn make_live_watched(
        self: &Arc<Self>,
        intent: &Intent<'_>,
        watch_s: Option<u64>,
        steps: &mut Steps,
    ) -> Result<Moved, Error> {
        let watching = self.begin_watch(intent.app, watch_s)?;
        let moved = self.make_live(intent, steps).boxed().await?;
        self.begin_trial(intent, &moved);
        let Some(watching) = watching else { return Ok(moved) };
        match &moved.before {
            Some(replaced) if moved.switched => {
                let teller = steps.teller("watch");
                let watch = async { self.watch(intent, &watching, replaced, &teller).await };
                steps.run("watch", watch.boxed()).await?;
            }
            _ if !moved.switched => steps.skip("watch", "nothing was switched"),
            _ => steps.skip("watch", "nothing was live before, so there is nothing to go back to"),
        }
        Ok(moved)
    }

    async fn watch(
        &self,
        intent: &Intent<'_>,
        watching: &Watching,
        replaced: &LivePointer,
        teller: &Teller,
    ) -> Result<((), String), Error> {
        let began = Instant::now();
        // What it would go back to is there until its end.
        let _lease = self.ledger.leases.going_back(intent.app, replaced.version).await;
        // Of the version that was replaced alone: one that was undone a moment ago is nothing to compare with.
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let span = Duration::from_secs(self.watch_settings.before_s);
        let before = self.loader.tallies().recent(app, environment, span, &replaced.version);
        let mut paths = BadPaths::default();
        let ended = self.look(intent, watching, before, teller, &mut paths).await?;
        let (outcome, result) = match ended {
            Ended::Well(after) if after.requests < self.watch_settings.requests_min => {
                ("passed", Ok(((), format!("{}: too few to tell", requests(after)))))
            }
            Ended::Well(after) => ("passed", Ok(((), told(before, after)))),
            Ended::Elsewhere => ("left", Ok(((), "ended: something else went live meanwhile".to_owned()))),
            Ended::Stopping => ("left", Ok(((), "ended: the edge stops".to_owned()))),
            Ended::Rose(rise) => {
                let seconds = began.elapsed().as_secs().max(1);
                let seen = format!("{rise} within {seconds} s of the switch{}", paths.told());
                self.undo(&Switched::of(intent), replaced, "watch", &seen).await
            }
        };
        counter!("devanture_watches_total", "app" => intent.app.to_string(),
            "environment" => intent.environment.to_string(), "outcome" => outcome)
        .increment(1);
        result
    }

    /// Looks until the time is over, something else is live, or errors have risen.
    async fn look(
        &self,
        intent: &Intent<'_>,
        watching: &Watching,
        before: Answers,
        teller: &Teller,
        paths: &mut BadPaths,
    ) -> Result<Ended, Error> {
        let (app, environment) = (intent.app.as_str(), intent.environment.as_str());
        let tally = self.loader.tallies().of(app, environment);
        let at_switch = tally.answers();
        let filter = LogFilter { status: "404,5xx".parse().ok(), ..LogFilter::default() };
        let wanted = LogWanted { app: app.to_owned(), environment: environment.to_owned(), filter };
        // Without a reader only the paths are missing.
        let mut reader = self.access_log.read_along(wanted).ok();
        let until = tokio::time::Instant::now() + watching.span;
        let mut told_at = Instant::now();
        loop {
            let next = (tokio::time::Instant::now() + LOOK_EVERY).min(until);
            paths.read_until(&mut reader, next).await;
            let after = tally.answers().since(at_switch);
            if self
                .ledger
                .live_pointer(intent.app, intent.environment)
                .await?
                .is_none_or(|(_, p)| p.deploy != intent.deploy)
            {
                return Ok(Ended::Elsewhere);
            }
            if self.tasks.is_closed() {
                return Ok(Ended::Stopping);
            }
            if let Some(rise) = rise(&self.watch_settings, before, after) {
                return Ok(Ended::Rose(rise));
            }
            if tokio::time::Instant::now() >= until {
                return Ok(Ended::Well(after));
            }
            if told_at.elapsed() >= TELL_EVERY {
                told_at = Instant::now();
                let left = until.saturating_duration_since(tokio::time::Instant::now()).as_secs();
                teller.tell(&format!("{}, {left} s to go", told(before, after)));
            }
        }
    }

    /// Goes back to what was live before, if the version that is watched still is. `by` and `seen` say who saw what.
    pub(super) async fn undo(
        &self,
        watched: &Switched,
        replaced: &LivePointer,
        by: &str,
        seen: &str,
    ) -> (&'static str, Result<((), String), Error>) {
        let begun = self.ledger.tick();
        let deploy = format!("{begun:x}");
        let source = Source { message: Some(format!("Undone by the {by}: {seen}.")), ..Source::default() };
        let intent = Intent {
            app: &watched.app,
            environment: &watched.environment,
            version: replaced.version,
            kind: DeployKind::Rollback,
            deploy: &deploy,
            begun,
            actor: &watched.actor,
            source: &source,
            if_live: None,
            force: true,
            position: Some(replaced.position.clone()),
            allow_refingerprint: true,
            // The caller of the switch asked for it; a later lock keeps what comes next.
            passes_lock: true,
            condition: &Condition::default(),
            log: &[],
            no_smoke: true,
            replaces: Some(Undone { deploy: &watched.deploy, why: seen }),
            // Those that hold now: nobody asked to take them back.
            settings: None,
        };
        let (from, to) = (watched.version.short(), replaced.version.short());
        tracing::warn!(app = %watched.app, environment = %watched.environment, version = %watched.version, seen, "a switch is undone");
        match self.make_live(&intent, &mut Steps::new(None)).boxed().await {
            Ok(_) => {
                let detail = format!("{seen}. The switch to {from} was undone; {to} is live again.");
                let hint = "look at `devanture logs`, and at the preview of the version; fix it and push again";
                ("undone", Err(Problem::new(Code::WatchFailed, detail).hint(hint).into()))
            }
            Err(Error(problem)) if problem.code == Code::LiveMoved => {
                ("left", Ok(((), format!("{seen}, but something else went live meanwhile and is left alone"))))
            }
            Err(Error(problem)) => {
                let why = format!("{} [{}]", problem.detail, problem.code.as_str());
                let detail = format!("{seen}, and the switch to {from} could not be undone, so it is live: {why}");
                let hint = format!("`devanture rollback {to}` goes back, or push something better");
                ("failed", Err(Problem::new(Code::WatchFailed, detail).hint(hint).into()))
            }
        }
    }
}

/// The first share that has risen by more than may be.
fn rise(settings: &Watch, before: Answers, after: Answers) -> Option<Rise> {
    if after.requests < settings.requests_min {
        return None;
    }
    let kinds = [
        ("5xx", before.server_errors, after.server_errors, settings.server_error_points),
        ("404", before.not_found, after.not_found, settings.not_found_points),
    ];
    let rises = kinds.into_iter().find(|(_, was, is, points)| {
        // Shares are compared by multiplying out; where nobody asked before, nothing was wrong.
        let (was, is) = (u128::from(*was), u128::from(*is));
        let (all_before, all_after) = (u128::from(before.requests.max(1)), u128::from(after.requests));
        let (was, all) = (was.saturating_mul(all_after), all_before.saturating_mul(all_after));
        let is = is.saturating_mul(all_before);
        let points = all.saturating_mul(u128::from(*points));
        u128::from(settings.errors_min).saturating_mul(all_before) <= is
            && is > was.saturating_mul(u128::from(settings.factor))
            && is.saturating_mul(100) >= was.saturating_mul(100).saturating_add(points)
    });
    rises.map(|(kind, was, is, _)| Rise { kind, before: (was, before.requests), after: (is, after.requests) })
}

impl std::fmt::Display for Rise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, before, after } = self;
        write!(
            f,
            "{kind} rose from {} ({} of {}) to {} ({} of {})",
            percent(*before),
            before.0,
            counted(before.1, "request"),
            percent(*after),
            after.0,
            after.1
        )
    }
}

fn requests(answers: Answers) -> String {
    counted(answers.requests, "request")
}

fn told(before: Answers, after: Answers) -> String {
    let share = |bad: fn(&Answers) -> u64, answers: &Answers| percent((bad(answers), answers.requests));
    let text = |bad: fn(&Answers) -> u64| format!("{} (before {})", share(bad, &after), share(bad, &before));
    format!("{}, 5xx {}, 404 {}", requests(after), text(|a| a.server_errors), text(|a| a.not_found))
}

/// A share with one digit after the point, in whole numbers.
fn percent((part, all): (u64, u64)) -> String {
    let tenths = if all == 0 { 0 } else { u128::from(part) * 1_000 / u128::from(all) };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// The paths of bad answers, and how often each was asked for.
#[derive(Default)]
struct BadPaths(BTreeMap<String, u64>);

impl BadPaths {
    /// Reads what comes until `until`.
    async fn read_until(&mut self, reader: &mut Option<LogReader>, until: tokio::time::Instant) {
        let Some(lines) = reader else { return tokio::time::sleep_until(until).await };
        loop {
            match tokio::time::timeout_at(until, lines.next()).await {
                Ok(Some(LogTold::Line(line))) => {
                    let path = printable(line.target.split('?').next().unwrap_or_default(), PATH_CHARACTERS);
                    let path = format!("{path} {}", line.status);
                    if self.0.len() < PATHS_MAX || self.0.contains_key(&path) {
                        *self.0.entry(path).or_default() += 1;
                    }
                }
                Ok(Some(LogTold::Lost(_))) => {}
                Ok(None) => {
                    *reader = None;
                    return tokio::time::sleep_until(until).await;
                }
                Err(_elapsed) => return,
            }
        }
    }

    fn told(&self) -> String {
        let mut paths: Vec<(&String, &u64)> = self.0.iter().collect();
        paths.sort_by_key(|(path, count)| (std::cmp::Reverse(**count), *path));
        let mut text = String::new();
        for (index, (path, count)) in paths.into_iter().take(PATHS_TOLD).enumerate() {
            write!(text, "{} {path} ({count})", if index == 0 { ": most of them" } else { "," }).ok();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answers(requests: u64, not_found: u64, server_errors: u64) -> Answers {
        Answers { requests, not_found, server_errors }
    }

    #[test]
    fn a_rise_is_more_than_a_few_and_more_than_it_was() {
        let kind = |before, after| rise(&Watch::default(), before, after).map(|rise| rise.kind);
        let quiet = answers(1_000, 10, 1);
        for (before, after, expected) in [
            (quiet, answers(0, 0, 0), None),
            (quiet, answers(19, 19, 19), None),
            (quiet, answers(20, 0, 4), None),
            (quiet, answers(20, 0, 5), Some("5xx")),
            (quiet, answers(1_000, 0, 10), None),
            (quiet, answers(1_000, 0, 11), Some("5xx")),
            (quiet, answers(1_000, 59, 0), None),
            (quiet, answers(1_000, 60, 0), Some("404")),
            // Twice what it was is not enough, nor is more where it was much.
            (answers(100, 0, 30), answers(100, 0, 60), None),
            (answers(100, 0, 30), answers(100, 0, 61), Some("5xx")),
            // Nobody came before.
            (answers(0, 0, 0), answers(100, 4, 0), None),
            (answers(0, 0, 0), answers(100, 5, 0), Some("404")),
        ] {
            assert_eq!(kind(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_was_seen_is_told_in_counts_and_paths() {
        let rise = rise(&Watch::default(), answers(200, 1, 0), answers(40, 20, 0)).unwrap();
        assert_eq!(rise.to_string(), "404 rose from 0.5 % (1 of 200 requests) to 50.0 % (20 of 40)");
        let mut paths = BadPaths::default();
        for (path, count) in [("/a 404", 1), ("/b 404", 9), ("/c 404", 3)] {
            paths.0.insert(path.to_owned(), count);
        }
        assert_eq!(paths.told(), ": most of them /b 404 (9), /c 404 (3), /a 404 (1)");
        assert_eq!(
            told(answers(0, 0, 0), answers(1, 1, 0)),
            "1 request, 5xx 0.0 % (before 0.0 %), 404 100.0 % (before 0.0 %)"
        );
    }

    proptest! {
        #[test]
        fn nothing_rises_where_answers_are_as_they_were(all in 1_u64..1_000_000, bad in 0_u64..1_000_000, times in 1_u64..1_000) {
            let before = answers(all, bad.min(all), 0);
            let after = answers(all * times, bad.min(all) * times, 0);
            prop_assert_eq!(rise(&Watch::default(), before, after), None);
        }

        #[test]
        fn no_number_breaks_the_comparison(before in any::<[u64; 3]>(), after in any::<[u64; 3]>()) {
            let [a, b, c] = before;
            let [d, e, f] = after;
            let _rise = rise(&Watch::default(), answers(a, b, c), answers(d, e, f));
        }
    }
}
