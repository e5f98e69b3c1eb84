//! Smoke gate before a switch: requests a version as its environment will serve it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devanture_config::problem::{Code, Problem};
use futures_util::{StreamExt as _, stream};

use super::intent::Intent;
use super::smoke::{SHOWN_CHARACTERS, judge, printable};
use super::steps::{StepReporter, Steps};
use super::switcher::Switcher;
use crate::ledger::Error;
use devanture_base::clock;
use devanture_base::telemetry;
use devanture_serve::handler::SmokeQuestion;
use devanture_serve::live::Current;
use devanture_serve::version::Version;

/// Concurrent checks of a version.
const CHECKS_AT_ONCE: usize = 4;
/// Failed checks listed by a problem.
const FAILURES_TOLD: usize = 5;

/// Outcome of a check.
struct Checked {
    path: String,
    outcome: Result<u16, String>,
    ms: u64,
}

impl Switcher {
    /// Runs all smoke checks of the version in the environment.
    ///
    /// # Errors
    /// `smoke_failed` with the failures.
    pub(crate) async fn smoke(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        steps: &mut Steps,
    ) -> Result<(), Error> {
        if version.smoke.is_empty() || intent.movement.was_live_here() {
            return Ok(());
        }
        let live = self.ledger.live.place(intent.app, intent.environment).and_then(|place| place.pointed());
        if live.is_some_and(|current| current.version.id == version.id) {
            // The version is already live, so no switch follows.
            return Ok(());
        }
        if intent.passes.smoke {
            steps.skip("smoke", "left out, as `no_smoke` says");
            return Ok(());
        }
        let reporter = steps.reporter("smoke");
        steps.run("smoke", async { self.ask_all(intent, version, &reporter).await }).await
    }

    async fn ask_all(
        &self,
        intent: &Intent<'_>,
        version: &Arc<Version>,
        reporter: &StepReporter,
    ) -> Result<((), String), Error> {
        let (host, custom_host) = self.ledger.live.visitors_host(intent.app, intent.environment);
        let authority = self.ledger.live.domains().authority(&host);
        let withdrawn = self.ledger.live.withdrawn(intent.app);
        let place = self.ledger.live.place(intent.app, intent.environment);
        // As the switch will choose them, also where nothing is live yet.
        let settings =
            self.environments.settings.settings_to_be(intent.app, intent.environment, intent.settings).await?;
        let current = Arc::new(Current::new(Arc::clone(version), clock::now_ms(), withdrawn, settings));
        let body_bytes_max = usize::try_from(self.ledger.limits().smoke_body_bytes_max).unwrap_or(usize::MAX);
        let questions: Vec<SmokeQuestion> = version
            .smoke
            .iter()
            .map(|check| SmokeQuestion {
                current: Arc::clone(&current),
                place: place.clone(),
                authority: authority.clone(),
                custom_host,
                from: intent.actor.from,
                check: check.clone(),
                body_bytes_max,
            })
            .collect();
        // In the order of the file, so that two runs report the same.
        let checks: Vec<_> = questions.into_iter().map(|question| self.ask_one(question)).collect();
        let mut checked = stream::iter(checks).buffered(CHECKS_AT_ONCE);
        let mut failures = Vec::new();
        let mut count = 0;
        while let Some(Checked { path, outcome, ms }) = checked.next().await {
            count += 1;
            let word = if outcome.is_ok() { "passed" } else { "failed" };
            let place = (intent.app.as_str(), intent.environment.as_str());
            telemetry::count_in_place("devanture_smoke_checks_total", place, &[("outcome", word)], 1);
            match outcome {
                Ok(status) => reporter.report(&format!("{path}  {status} ({ms} ms)")),
                Err(why) => {
                    reporter.report(&format!("{path}  {why}"));
                    failures.push(format!("`{path}`: {why}"));
                }
            }
        }
        if failures.is_empty() {
            let checks = if count == 1 { "1 check".to_owned() } else { format!("{count} checks") };
            return Ok(((), format!("{checks} passed")));
        }
        let domains = self.ledger.live.domains();
        let preview = domains.url(&domains.preview_host(intent.app, &intent.version));
        Err(failed(&failures, count, &preview).into())
    }

    async fn ask_one(&self, question: SmokeQuestion) -> Checked {
        let check = question.check.clone();
        let began = Instant::now();
        let ms_max = check.timeout_ms().min(self.ledger.limits().smoke_ms_max);
        let answered = tokio::time::timeout(Duration::from_millis(ms_max), self.smoke.ask(question)).await;
        let body_bytes_max = usize::try_from(self.ledger.limits().smoke_body_bytes_max).unwrap_or(usize::MAX);
        let outcome = match answered {
            Ok(Ok(answer)) => {
                // Runs outside the API's threads: a body may be large.
                let check = check.clone();
                let judging = move || judge(&check, &answer, body_bytes_max).map(|()| answer.status);
                let judged = tokio::task::spawn_blocking(judging).await;
                judged.unwrap_or_else(|_ended| Err("its answer could not be looked at".to_owned()))
            }
            Ok(Err(unanswered)) => Err(unanswered.to_string()),
            Err(_elapsed) => Err(format!("no whole answer within {ms_max} ms")),
        };
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Checked { path: printable(&check.path, SHOWN_CHARACTERS), outcome, ms }
    }
}

fn failed(failures: &[String], count: usize, preview: &str) -> Problem {
    let mut detail = format!("{} of {count} smoke checks failed.", failures.len());
    for failure in failures.iter().take(FAILURES_TOLD) {
        write!(detail, " {failure}.").ok();
    }
    if failures.len() > FAILURES_TOLD {
        write!(detail, " And {} more.", failures.len() - FAILURES_TOLD).ok();
    }
    Problem::new(Code::SmokeFailed, detail).hint(format!(
        "what was live stays live; the version is stored, with its preview at {preview}; fix it and push again, or let \
         it go live with --no-smoke"
    ))
}
