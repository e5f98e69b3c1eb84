//! The session of one command: what comes from the keyboard, from signals and from the edge, until the command has
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
use super::output::{To, UNWRITTEN_BYTES_MAX, Writer, Written, input};
use crate::edge::client::{Edge, RunStream, garbled_run, lost};
use crate::output::exit::{Failure, INTERRUPTED};
use crate::platform::{Raw, Signals, Sizes};

/// Ctrl-C so often ends this program, where the command goes on in spite of it.
const INTERRUPTS_MAX: u32 = 2;
/// The exit code where the reader of the output is gone: 128 and the number of SIGPIPE.
const READER_GONE: u8 = 141;

/// How a command uses this program's streams.
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
    /// Where it could not be begun, its connection is lost, or this program is interrupted.
    pub(super) async fn run(
        self,
        edge: &Edge,
        at: (&PlaceName, Option<&str>),
        wanted: &RunRequest,
    ) -> Result<RunEnd, Failure> {
        // Before it begins: a signal in between is not lost.
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
        // What came is printed, whatever ended the command, unless nobody waits for a reader that rests.
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
                        EdgeFrame::Stderr(bytes) => put(writer, To::Stderr, bytes)?,
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
            // What cannot be sent any more may follow an end that is still to be read.
            if stream.send(&frame).await.is_err() {
                has_input = false;
            }
        }
    }

    fn stdout(&self) -> To {
        if self.is_json { To::Stderr } else { To::Stdout }
    }
}

/// Waits for the Ctrl-C that is one too many for this program; its command takes no more signals, and `interrupts` came
/// before. SIGTERM and SIGQUIT end the program at once. SIGHUP comes once, with the terminal: output to a file is not
/// lost by it.
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

/// Has output written.
///
/// # Errors
/// Where the edge has sent more than it may: it would fill the memory where nobody reads.
fn put(writer: &mut Writer, to: To, bytes: Vec<u8>) -> Result<(), Failure> {
    if writer.put(to, bytes) {
        return Ok(());
    }
    let why =
        format!("more than {UNWRITTEN_BYTES_MAX} bytes of output wait to be read, and an edge sends no more ahead");
    Err(not_run(garbled_run(&why)).hint("see whether an edge answers at this address: `devanture status`"))
}

/// Whether another piece of input fits into the window.
fn may_send(ahead: usize) -> bool {
    ahead.saturating_add(CHUNK_BYTES) <= WINDOW_BYTES
}

async fn next_piece(pieces: &mut mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    pieces.recv().await.unwrap_or_default()
}

/// The failure of this program after a signal that nobody else could take.
fn interrupted(signal: RunSignal) -> Failure {
    match signal {
        RunSignal::Interrupt => Failure::interrupted(INTERRUPTED),
        RunSignal::Hangup => Failure::interrupted(129),
        RunSignal::Quit => Failure::interrupted(131),
        RunSignal::Terminate => Failure::interrupted(143),
    }
}
