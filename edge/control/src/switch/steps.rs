//! Steps of a deploy: reported as they happen, and kept for its record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use devanture_config::VersionId;
use devanture_config::api::{DeployEvent, DeployReport, Step, StepState};
use tokio::sync::mpsc::UnboundedSender;

use super::deploys::Watched;
use crate::ledger::{Error, MORE_LINES};

/// Most recorded log lines of a deploy …
const LOG_LINES_MAX: usize = 100;
/// … and their length in characters.
const LOG_CHARACTERS_MAX: usize = 1_000;

/// Most lines reported by a running step: clients may be slow, and queued lines take memory.
const DETAIL_LINES_MAX: u64 = 1_000;

/// Channel for the events of a running deploy.
pub type EventSink = UnboundedSender<DeployEvent>;

/// Steps of a deploy, reported as they happen and kept for its record.
pub(crate) struct Steps {
    list: Vec<Step>,
    log: Vec<String>,
    sink: Option<EventSink>,
    watched: Option<Watched>,
}

/// Reports the progress of a running step.
pub(crate) struct StepReporter {
    name: &'static str,
    sink: Option<EventSink>,
    watched: Option<Watched>,
    begun: Instant,
    reported: AtomicU64,
}

impl StepReporter {
    /// Reports a line. Of a very verbose step only the first lines are reported, with a pointer to the rest.
    pub(crate) fn report(&self, detail: &str) {
        match self.reported.fetch_add(1, Ordering::Relaxed) {
            before if before < DETAIL_LINES_MAX => self.report_line(detail),
            DETAIL_LINES_MAX if self.name == "release" => {
                self.report_line("… and more: `devanture logs --source release`");
            }
            DETAIL_LINES_MAX => self.report_line("… and more"),
            _ => {}
        }
    }

    fn report_line(&self, detail: &str) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (name, detail) = (self.name.to_owned(), detail.to_owned());
        let step = Step { name, state: StepState::Started, detail, ms };
        if let Some(watched) = &self.watched {
            watched.step(&step);
        }
        if let Some(sink) = &self.sink {
            sink.send(DeployEvent::Step(step)).ok();
        }
    }
}

impl Steps {
    pub(crate) fn new(sink: Option<EventSink>) -> Self {
        Self { list: Vec::new(), log: Vec::new(), sink, watched: None }
    }

    /// Also reports the steps to clients that query the state of the deploy.
    pub(crate) fn watched(sink: Option<EventSink>, watched: Watched) -> Self {
        Self { watched: Some(watched), ..Self::new(sink) }
    }

    fn report(&self, step: &Step) {
        if let Some(watched) = &self.watched {
            watched.step(step);
        }
        if let Some(sink) = &self.sink {
            // The receiver may be gone; the deploy continues.
            sink.send(DeployEvent::Step(step.clone())).ok();
        }
    }

    /// Runs a step; `work` returns its result and a detail.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        self.run_since(name, Instant::now(), work).await
    }

    /// Runs a step that began earlier.
    pub(crate) async fn run_since<T>(
        &mut self,
        name: &str,
        begun: Instant,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        let mut step = Step { name: name.to_owned(), state: StepState::Started, detail: String::new(), ms: 0 };
        self.report(&step);
        let result = work.await;
        step.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let result = match result {
            Ok((value, detail)) => {
                step.state = StepState::Done;
                step.detail = detail;
                Ok(value)
            }
            Err(error) => {
                step.state = StepState::Failed;
                step.detail = error.to_string();
                Err(error)
            }
        };
        self.report(&step);
        self.list.push(step);
        result
    }

    /// Returns a reporter for a running step.
    pub(crate) fn reporter(&self, name: &'static str) -> StepReporter {
        StepReporter {
            name,
            sink: self.sink.clone(),
            watched: self.watched.clone(),
            begun: Instant::now(),
            reported: AtomicU64::new(0),
        }
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let step = Step { name: name.to_owned(), state: StepState::Skipped, detail: why.to_owned(), ms: 0 };
        self.report(&step);
        self.list.push(step);
    }

    /// Adds a line to the recorded log; the last line counts lines beyond the limit.
    pub(crate) fn log(&mut self, line: &str) {
        match self.log.len() {
            length if length < LOG_LINES_MAX => {
                let shown = |c: char| if c.is_control() { ' ' } else { c };
                self.log.push(line.chars().take(LOG_CHARACTERS_MAX).map(shown).collect());
            }
            LOG_LINES_MAX => self.log.push(MORE_LINES.to_owned()),
            _ => {}
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.log
    }

    pub(crate) fn list(&self) -> &[Step] {
        &self.list
    }

    /// Returns true once the live pointer was moved.
    pub(crate) fn have_switched(&self) -> bool {
        self.list.iter().any(|step| step.name == "switch" && step.state == StepState::Done)
    }

    /// Returns true if a step before the switch failed, for example preparation, checks, or the watch of the first
    /// node. A lost race of the switch itself does not count.
    pub(crate) fn were_refused(&self) -> bool {
        let has_failed = |step: &Step| step.name != "switch" && step.state == StepState::Failed;
        !self.have_switched() && self.list.iter().any(has_failed)
    }

    pub(crate) fn version_is(&self, version: VersionId) {
        if let Some(watched) = &self.watched {
            watched.version_is(version);
        }
    }

    /// Sends the last event of a switch.
    pub(crate) fn last(&self, event: DeployEvent) {
        if let Some(sink) = &self.sink {
            sink.send(event).ok();
        }
    }

    /// Sends the outcome of the deploy.
    pub(crate) fn ended(&self, result: &Result<DeployReport, Error>) {
        if let Some(watched) = &self.watched {
            watched.ended(result);
        }
        if let Some(sink) = &self.sink {
            let last = match result {
                Ok(report) => DeployEvent::Done(Box::new(report.clone())),
                Err(error) => DeployEvent::Problem(error.0.clone()),
            };
            sink.send(last).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::problem::{Code, Problem};

    use super::*;

    #[tokio::test]
    async fn a_switch_that_failed_moved_nothing_and_what_fails_before_it_is_a_refusal() {
        let mut steps = Steps::new(None);
        let fails = async || Err::<((), String), Error>(Problem::new(Code::Internal, "no").into());
        steps.run("switch", fails()).await.unwrap_err();
        assert!(!steps.have_switched() && !steps.were_refused());
        steps.run("smoke", fails()).await.unwrap_err();
        assert!(!steps.have_switched() && steps.were_refused());
        steps.run("switch", async { Ok(((), "moved".to_owned())) }).await.unwrap();
        assert!(steps.have_switched() && !steps.were_refused());
        let states = steps.list().iter().map(|step| step.state);
        assert_eq!(states.collect::<Vec<_>>(), [StepState::Failed, StepState::Failed, StepState::Done]);
    }

    /// The log is shown in terminals.
    #[test]
    fn the_log_has_an_end_and_no_control_characters() {
        let mut steps = Steps::new(None);
        for _ in 0..LOG_LINES_MAX + 9 {
            steps.log(&format!("\u{1b}[2J{}", "x".repeat(LOG_CHARACTERS_MAX)));
        }
        let (last, lines) = steps.lines().split_last().unwrap();
        assert_eq!((last.as_str(), lines.len()), (MORE_LINES, LOG_LINES_MAX));
        let line = format!(" [2J{}", "x".repeat(LOG_CHARACTERS_MAX - 4));
        assert!(lines.iter().all(|one| *one == line), "{lines:?}");
    }
}
