//! The steps of a deploy: told as they happen, and kept for its record.

use std::time::Instant;

use devanture_config::VersionId;
use devanture_config::api::{DeployEvent, DeployReport, Step, StepState};
use tokio::sync::mpsc::UnboundedSender;

use super::Error;
use super::deploys::Watched;

/// Most lines of the log of a deploy that are kept, and …
const LOG_LINES_MAX: usize = 100;
/// … most characters of each.
const LOG_CHARACTERS_MAX: usize = 1_000;

/// Where the events of a deploy go as it runs.
pub type EventSink = UnboundedSender<DeployEvent>;

/// The steps of a deploy, told as they happen and kept for its record.
pub(crate) struct Steps {
    list: Vec<Step>,
    log: Vec<String>,
    sink: Option<EventSink>,
    watched: Option<Watched>,
}

impl Steps {
    pub(crate) fn new(sink: Option<EventSink>) -> Self {
        Self { list: Vec::new(), log: Vec::new(), sink, watched: None }
    }

    /// Tells them also to whoever asks how the deploy is.
    pub(crate) fn watched(sink: Option<EventSink>, watched: Watched) -> Self {
        Self { watched: Some(watched), ..Self::new(sink) }
    }

    fn tell(&self, step: &Step) {
        if let Some(watched) = &self.watched {
            watched.step(step);
        }
        if let Some(sink) = &self.sink {
            // Nobody may be listening any more; the deploy goes on.
            sink.send(DeployEvent::Step(step.clone())).ok();
        }
    }

    /// Runs one step; `work` gives its result and what there is to say about it.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        self.run_since(name, Instant::now(), work).await
    }

    /// Runs one step that began earlier.
    pub(crate) async fn run_since<T>(
        &mut self,
        name: &str,
        begun: Instant,
        work: impl Future<Output = Result<(T, String), Error>>,
    ) -> Result<T, Error> {
        let mut step = Step { name: name.to_owned(), state: StepState::Started, detail: String::new(), ms: 0 };
        self.tell(&step);
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
        self.tell(&step);
        self.list.push(step);
        result
    }

    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let step = Step { name: name.to_owned(), state: StepState::Skipped, detail: why.to_owned(), ms: 0 };
        self.tell(&step);
        self.list.push(step);
    }

    /// Adds a line to the log that is kept in the history; lines beyond a bound are counted by the last one.
    pub(crate) fn log(&mut self, line: &str) {
        match self.log.len() {
            length if length < LOG_LINES_MAX => {
                let shown = |c: char| if c.is_control() { ' ' } else { c };
                self.log.push(line.chars().take(LOG_CHARACTERS_MAX).map(shown).collect());
            }
            LOG_LINES_MAX => self.log.push("… and more".to_owned()),
            _ => {}
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        &self.log
    }

    pub(crate) fn list(&self) -> &[Step] {
        &self.list
    }

    pub(crate) fn version_is(&self, version: VersionId) {
        if let Some(watched) = &self.watched {
            watched.version_is(version);
        }
    }

    /// Tells how the deploy ended.
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
