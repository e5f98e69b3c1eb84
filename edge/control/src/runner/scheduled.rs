//! Commands that run at times: each once, with the log and the limits of an instance.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::handle::Runner;
use super::release::{OneOff, Ran};
use super::request::Wanted;
use devanture_base::clock;
use devanture_host::output::{Line, LineStream};
use devanture_host::spawner::Exit;

/// A command that is due.
pub struct Scheduled {
    /// The name of its lines, such as `schedule.digest`.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Longest time that it may take.
    pub time_max: Duration,
    /// Ends it early, with all that it started: as an instance is ended …
    pub stop: CancellationToken,
    /// … or at once.
    pub kill: CancellationToken,
}

/// How such a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduledEnd {
    /// With this code.
    Exited(i32),
    /// Otherwise by itself, such as by a signal; or it could not begin.
    Failed(String),
    /// The edge ended it.
    Interrupted,
    /// Its time ran out.
    TimedOut,
}

impl Runner {
    /// Runs a command of a version to its end; nothing that it started is left then. It writes to the log of the
    /// environment, and so does the edge where it fails.
    pub async fn run_scheduled(&self, wanted: &Wanted, scheduled: Scheduled) -> ScheduledEnd {
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
