//! Scheduled one-off commands, with log and limits of an instance.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::handle::Runner;
use super::release::{OneOff, Ran};
use super::request::BackendSpec;
use devanture_base::clock;
use devanture_host::output::{Line, LineStream};
use devanture_host::spawner::Exit;

/// Due command.
pub struct Scheduled {
    /// Name of its log lines, for example `schedule.digest`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Time limit.
    pub time_max: Duration,
    /// Ends the command and its child processes early: like an instance …
    pub stop: CancellationToken,
    /// … or at once.
    pub kill: CancellationToken,
}

/// Outcome of a scheduled command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduledEnd {
    /// Exited with the code.
    Exited(i32),
    /// Ended otherwise, for example by a signal; or not started.
    Failed(String),
    /// Ended by the edge.
    Interrupted,
    /// Timed out.
    TimedOut,
}

impl Runner {
    /// Runs a command of a version to its end, without leaving any process. Output, and errors of the edge, go to the
    /// environment's log.
    pub async fn run_scheduled(&self, wanted: &BackendSpec, scheduled: Scheduled) -> ScheduledEnd {
        let _under_way = self.0.one_offs.token();
        let Scheduled { name, command, time_max, stop, kill } = scheduled;
        let one_off = OneOff { name: name.clone(), command, time_max, stop, kill };
        let end = match self.0.run_one_off(wanted, one_off, &|_line| {}).await {
            Ok(Ran { exit: Some(Exit::Code(code)), .. }) => ScheduledEnd::Exited(code),
            Ok(Ran { exit: Some(exit), .. }) => ScheduledEnd::Failed(exit.to_string()),
            Ok(Ran { exit: None, .. }) => ScheduledEnd::TimedOut,
            Err(Error::Ended) => ScheduledEnd::Interrupted,
            Err(error) => ScheduledEnd::Failed(error.to_string()),
        };
        let text = match &end {
            ScheduledEnd::Exited(0) => return end,
            ScheduledEnd::Exited(code) => format!("exited with code {code}"),
            ScheduledEnd::Failed(reason) => reason.clone(),
            ScheduledEnd::Interrupted => "was ended by the edge".to_owned(),
            ScheduledEnd::TimedOut => format!("was not done within {} ms, and was ended", time_max.as_millis()),
        };
        let log = self.0.logs.of(&wanted.app, &wanted.place).await;
        let version = wanted.version.short();
        log.add(Line { at_ms: clock::now_ms(), instance: name, version, stream: LineStream::Edge, text }).await;
        end
    }
}
