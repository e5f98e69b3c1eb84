//! The session of a one-off command: input from the keyboard, signals and frames of the edge, until the command has
//! ended.

use std::time::Duration;

use devanture_config::PlaceName;
use devanture_config::api::{RunEnd, RunRequest};
use devanture_config::run_stream::{
    ALIVE_S, CHUNK_BYTES, ClientFrame, EdgeFrame, RunSignal, SILENCE_S_MAX, WINDOW_BYTES,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::not_run;
use super::output::{OutputStream, UNWRITTEN_BYTES_MAX, Writer, Written, input};
use crate::edge::client::{Edge, RunStream, garbled_run, lost};
use crate::output::exit::{Failure, INTERRUPTED};
use crate::platform::{Raw, Signals, Sizes};

/// Number of Ctrl-C that end this program, if the command goes on in spite of them.
const INTERRUPTS_MAX: u32 = 2;
/// The exit code after the loss of the output's reader: 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

/// A command's use of this program's streams.
pub(super) struct Session {
    /// The standard output is for JSON.
    is_json: bool,
    has_terminal: bool,
}

impl Session {
    pub(super) fn new(is_json: bool, has_terminal: bool) -> Self {
        Self { is_json, has_terminal }
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// An error if the command could not begin, its connection is lost, or this program is interrupted.
    pub(super) async fn run(
        self,
        edge: &Edge,
        at: (&PlaceName, Option<&str>),
        wanted: &RunRequest,
    ) -> Result<RunEnd, Failure> {
        // Before the command begins: a signal in between is not lost.
        let mut signals = Signals::new();
        let mut stream = tokio::select! {
            begun = edge.run(at, wanted) => begun.map_err(not_run)?,
            signal = signals.next() => return Err(interrupted(signal)),
        };
        let (mut writer, mut interrupts) = (Writer::start(), 0);
        let ended = {
            let raw = self.has_terminal.then(Raw::enter).transpose();
            let _raw = raw.map_err(|error| not_run(lost(&format!("the terminal cannot be used: {error}"))))?;
            self.carry(&mut stream, &mut writer, (&mut signals, &mut interrupts)).await
        };
        if ended.is_err() && interrupts >= INTERRUPTS_MAX {
            return ended;
        }
        // Received output is printed, whatever ended the command, unless the user ends the wait for a slow reader.
        tokio::select! {
            () = writer.end() => ended,
            signal = rest_interrupted(&mut signals, interrupts) => Err(interrupted(signal)),
        }
    }

    async fn carry(
        &self,
        stream: &mut RunStream,
        writer: &mut Writer,
        (signals, interrupts): (&mut Signals, &mut u32),
    ) -> Result<RunEnd, Failure> {
        let mut sizes = Sizes::new(self.has_terminal);
        let (mut pieces, mut ahead, mut has_input) = (input(), 0_usize, true);
        let mut alive = interval(Duration::from_secs(ALIVE_S));
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let silent = heard + Duration::from_secs(SILENCE_S_MAX);
            let frame = tokio::select! {
                frame = stream.next() => {
                    heard = Instant::now();
                    match frame.map_err(not_run)? {
                        EdgeFrame::Stdout(bytes) => put(writer, self.stdout(), bytes)?,
                        EdgeFrame::Stderr(bytes) => put(writer, OutputStream::Stderr, bytes)?,
                        EdgeFrame::Taken(bytes) => {
                            ahead = ahead.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
                        }
                        EdgeFrame::Ended(end) => return Ok(*end),
                        EdgeFrame::Alive => {}
                    }
                    continue;
                }
                piece = next_piece(&mut pieces), if has_input && may_send(ahead) => {
                    has_input = !piece.is_empty();
                    ahead = ahead.saturating_add(piece.len());
                    ClientFrame::Input(piece)
                }
                written = writer.written() => match written {
                    Some(Written::Bytes(bytes)) => ClientFrame::Taken(u32::try_from(bytes).unwrap_or(u32::MAX)),
                    // The edge ends the command once this program is gone.
                    Some(Written::Closed) | None => return Err(Failure::silent(READER_GONE)),
                },
                size = sizes.next() => ClientFrame::Resize(size),
                signal = signals.next() => {
                    *interrupts += u32::from(signal == RunSignal::Interrupt);
                    if *interrupts >= INTERRUPTS_MAX {
                        return Err(interrupted(signal));
                    }
                    ClientFrame::Signal(signal)
                }
                _ = alive.tick() => ClientFrame::Alive,
                () = sleep_until(silent) => {
                    return Err(not_run(lost(&format!("the edge has been silent for {SILENCE_S_MAX} s"))));
                }
            };
            // A send can fail after an end that is still to be read.
            if stream.send(&frame).await.is_err() {
                has_input = false;
            }
        }
    }

    fn stdout(&self) -> OutputStream {
        if self.is_json { OutputStream::Stderr } else { OutputStream::Stdout }
    }
}

/// Waits for the Ctrl-C that ends this program, after `interrupts` earlier ones, while the command takes no signal any
/// more. SIGTERM and SIGQUIT end the wait at once. SIGHUP comes once, with the terminal, and does not lose output to a
/// file.
async fn rest_interrupted(signals: &mut Signals, mut interrupts: u32) -> RunSignal {
    loop {
        match signals.next().await {
            RunSignal::Hangup => {}
            RunSignal::Interrupt => {
                interrupts += 1;
                if interrupts >= INTERRUPTS_MAX {
                    return RunSignal::Interrupt;
                }
            }
            signal @ (RunSignal::Quit | RunSignal::Terminate) => return signal,
        }
    }
}

/// Queues output.
///
/// # Errors
/// An error if the edge has sent more than allowed: without a reader the output would fill the memory.
fn put(writer: &mut Writer, to: OutputStream, bytes: Vec<u8>) -> Result<(), Failure> {
    if writer.put(to, bytes) {
        return Ok(());
    }
    let why =
        format!("more than {UNWRITTEN_BYTES_MAX} bytes of output wait to be read, and an edge sends no more ahead");
    Err(not_run(garbled_run(&why)).hint("see whether an edge answers at this address: `devanture status`"))
}

/// Returns true if a further piece of input fits into the window.
fn may_send(ahead: usize) -> bool {
    ahead.saturating_add(CHUNK_BYTES) <= WINDOW_BYTES
}

async fn next_piece(pieces: &mut mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    pieces.recv().await.unwrap_or_default()
}

/// Returns the failure of this program after a signal that could not be passed on.
fn interrupted(signal: RunSignal) -> Failure {
    match signal {
        RunSignal::Interrupt => Failure::interrupted(INTERRUPTED),
        RunSignal::Hangup => Failure::interrupted(129),
        RunSignal::Quit => Failure::interrupted(131),
        RunSignal::Terminate => Failure::interrupted(143),
    }
}
