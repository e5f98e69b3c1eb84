//! Data process, run to its end independently of its reader: by exit, timeout, end of its environment, or abandonment.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use devanture_config::problem::Code;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::hold::{Turn, deleted};
use crate::runner::error::Error;
use crate::runner::holds::UserHold;
use crate::runner::shared::{Shared, ms};
use devanture_host::data_task::Failure;
use devanture_host::spawner::{Exit, Happened, Running, Stream};

/// Most bytes of an answer, and of a failure message.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Queued pieces of output; the process blocks in its next write.
const PIECES_WAITING: usize = 1;

/// Data process, ended on drop.
pub(super) struct Task {
    events: mpsc::Receiver<Result<Event, Error>>,
    /// Deadline.
    pub(super) until: Instant,
}

/// Event of a data process.
pub(super) enum Event {
    Output(Bytes),
    Ended,
}

impl Task {
    /// Runs a started process.
    pub(super) fn carry(shared: &Shared, running: Running, user: UserHold, turn: &Arc<Turn>) -> Self {
        let until = Instant::now() + ms(shared.limits.data_task_ms_max);
        let (sender, events) = mpsc::channel(PIECES_WAITING);
        let turn = Arc::clone(turn);
        let process = Process { running, until, failure: BytesMut::new(), turn, _user: user };
        // Detached: the reader of the output may stop polling, and would miss the end.
        shared.runtime.spawn(process.carry(sender));
        Self { events, until }
    }

    /// Returns the next event.
    ///
    /// # Errors
    /// The reason of the end; no events follow.
    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        self.events.recv().await.unwrap_or_else(|| Err(lost(&Exit::Lost)))
    }

    /// Returns the whole answer.
    pub(super) async fn answer<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let mut answer = BytesMut::new();
        while let Event::Output(bytes) = self.next().await? {
            if answer.len().saturating_add(bytes.len()) > ANSWER_BYTES_MAX {
                return Err(unreadable("it is too long"));
            }
            answer.extend_from_slice(&bytes);
        }
        serde_json::from_slice(&answer).map_err(|error| unreadable(&error.to_string()))
    }
}

/// Process with its resources.
struct Process {
    running: Running,
    until: Instant,
    failure: BytesMut,
    turn: Arc<Turn>,
    _user: UserHold,
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a process stopped by its user.
        self.running.signaller().kill();
    }
}

impl Process {
    /// Forwards events until the process ends or should end.
    async fn carry(mut self, to: mpsc::Sender<Result<Event, Error>>) {
        let (turn, until) = (Arc::clone(&self.turn), self.until);
        let last = loop {
            let permit = tokio::select! {
                biased;
                () = turn.ended() => break Err(deleted()),
                () = sleep_until(until) => break Err(late()),
                permit = to.reserve() => match permit {
                    Ok(permit) => permit,
                    Err(_closed) => return,
                },
            };
            let event = tokio::select! {
                biased;
                () = turn.ended() => break Err(deleted()),
                () = sleep_until(until) => break Err(late()),
                () = to.closed() => return,
                event = self.next() => event,
            };
            match event {
                Ok(Event::Output(bytes)) => permit.send(Ok(Event::Output(bytes))),
                last => break last,
            }
        };
        // Released before the last event, whose receiver may delay.
        drop((self, turn));
        to.send(last).await.ok();
    }

    /// Returns the next event. Cancel safe.
    async fn next(&mut self) -> Result<Event, Error> {
        loop {
            match self.running.next().await {
                Some(Happened::Output { stream: Stream::Stdout, bytes }) => return Ok(Event::Output(bytes)),
                Some(Happened::Output { bytes, .. }) => {
                    let room = ANSWER_BYTES_MAX.saturating_sub(self.failure.len());
                    self.failure.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
                }
                Some(Happened::Exited(Exit::Code(0))) => return Ok(Event::Ended),
                Some(Happened::Exited(exit)) => return Err(self.failed(&exit)),
                None => return Err(self.failed(&Exit::Lost)),
            }
        }
    }

    fn failed(&self, exit: &Exit) -> Error {
        // The library's report about an already reported error comes later.
        let mut values = serde_json::Deserializer::from_slice(&self.failure).into_iter::<Failure>();
        match values.next() {
            Some(Ok(Failure { code, detail })) => Error::Data { code, detail },
            _ => lost(exit),
        }
    }
}

fn lost(exit: &Exit) -> Error {
    Error::Data { code: Code::Internal, detail: format!("The process that works on the data {exit}.") }
}

fn late() -> Error {
    Error::Data {
        code: Code::TimedOut,
        detail: "The work on the data took longer than `data_task_ms_max` allows.".to_owned(),
    }
}

pub(super) fn unreadable(why: &str) -> Error {
    Error::Data { code: Code::Internal, detail: format!("The answer about the data cannot be read: {why}.") }
}
