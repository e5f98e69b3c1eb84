//! A process that works on data, carried to its end whether or not anybody takes what it writes: by its exit, by its
//! time, by the end of its environment, or as nobody wants it any more.

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

/// Most bytes of its answer, and of what it says of a failure.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Pieces of output that wait to be taken; further ones stay with the process, which waits in its next write.
const PIECES_WAITING: usize = 1;

/// A process that works on data. When this is dropped, the process is ended.
pub(super) struct Task {
    events: mpsc::Receiver<Result<Event, Error>>,
    /// When it has to be done.
    pub(super) until: Instant,
}

/// What a process did.
pub(super) enum Event {
    Output(Bytes),
    Ended,
}

impl Task {
    /// Carries a process that was started.
    pub(super) fn carry(shared: &Shared, running: Running, user: UserHold, turn: &Arc<Turn>) -> Self {
        let until = Instant::now() + ms(shared.limits.data_task_ms_max);
        let (sender, events) = mpsc::channel(PIECES_WAITING);
        let turn = Arc::clone(turn);
        let process = Process { running, until, failure: BytesMut::new(), turn, _user: user };
        // Who takes what it writes may stop doing so, and would not see its end then.
        shared.runtime.spawn(process.carry(sender));
        Self { events, until }
    }

    /// Its next event.
    ///
    /// # Errors
    /// Why it ended; nothing more comes then.
    pub(super) async fn next(&mut self) -> Result<Event, Error> {
        self.events.recv().await.unwrap_or_else(|| Err(lost(&Exit::Lost)))
    }

    /// Its whole answer.
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

/// The process itself, with everything that it holds.
struct Process {
    running: Running,
    until: Instant,
    failure: BytesMut,
    turn: Arc<Turn>,
    _user: UserHold,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Also where its user has stopped it.
        self.running.signaller().kill();
    }
}

impl Process {
    /// Passes on what it does until it ends, or is to end.
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
        // A caller that does not take its end holds nothing of it.
        drop((self, turn));
        to.send(last).await.ok();
    }

    /// Its next event. May be dropped before it is ready.
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
        // What the library says of an error that was reported already comes behind it.
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
