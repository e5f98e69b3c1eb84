//! Command in a container for an attached client: input, signals and the terminal size go in, output comes out at once,
//! and the exit code is the code of the command.

use std::io::{self, Read as _};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, split};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::description::{Attachment, Description};
use super::error::Error;
use super::frames::{Frames, Output};
use super::podman::{Answered, Ask, Podman, container_path};
use super::stand_in::{CANNOT_RUN, exit_code, say};

/// Bytes read at once.
const READ_BYTES: usize = 32 * 1024;
/// Pieces of input, and of output, that wait.
const PIECES_WAITING: usize = 2;
/// Maximum silence of an ended container before the output counts as complete.
const LAST_SILENCE_MAX: Duration = Duration::from_secs(2);
/// Exit codes for a program that is not executable, and for a missing program, as used by shells.
const NOT_EXECUTABLE: u8 = 126;
const MISSING: u8 = 127;
/// Offset of a signal number in the exit code of a killed program, as used by shells.
const BY_SIGNAL: u8 = 128;
const SIGKILL: u8 = 9;
/// Messages of runc and crun if the program cannot be executed.
const EXECUTES: [&str; 3] = ["start container process: exec: ", "crun: executable file", "crun: open executable"];

/// Piece of output.
type Piece = (Output, Vec<u8>);

/// Order for the container from its stand-in process.
enum Order {
    Resize,
    Signal(u8),
}

/// Signals of the process.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    resized: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            resized: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Order {
        tokio::select! {
            _ = self.hangup.recv() => Order::Signal(1),
            _ = self.interrupt.recv() => Order::Signal(2),
            _ = self.quit.recv() => Order::Signal(3),
            _ = self.terminate.recv() => Order::Signal(15),
            _ = self.resized.recv() => Order::Resize,
        }
    }
}

/// Terminal of the process in raw mode until dropped: the container has a separate terminal that interprets the keys.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Now, &self.0).ok();
    }
}

/// Sets up signals and the terminal, and runs the container to the end.
///
/// # Errors
/// Errors of the process itself; errors of podman are reported on standard error.
pub(super) async fn run(podman: &Podman, description: &Description, attachment: Attachment) -> io::Result<u8> {
    let signals = Signals::new()?;
    let raw = attachment.terminal.then(RawTerminal::new).transpose()?;
    let session = Session { podman, name: &description.name, has_terminal: attachment.terminal };
    let ran = session.run(description, signals).await;
    drop(raw);
    Ok(ran.unwrap_or_else(|error| {
        say(&error.to_string());
        CANNOT_RUN
    }))
}

struct Session<'s> {
    podman: &'s Podman,
    name: &'s str,
    has_terminal: bool,
}

impl Session<'_> {
    fn path(&self, what: &str) -> String {
        container_path(self.name, what)
    }

    async fn run(&self, description: &Description, mut signals: Signals) -> Result<u8, Error> {
        let created = self.podman.ask(Ask::post("/containers/create").json(&description.specification())).await?;
        created.done("create the container")?;
        // Attaching would do the same, without telling the cause of a failure.
        let prepared = self.podman.ask(Ask::post(self.path("init"))).await?;
        if let Some(code) = not_executed(&prepared) {
            say(&format!("`{}` {}", description.command.first().map_or("", String::as_str), why(code)));
            return Ok(code);
        }
        prepared.done("prepare the container")?;
        // Without detach keys: the keys could be bytes of a file.
        let attach = self.path("attach?stream=true&stdin=true&stdout=true&stderr=true&detachKeys=");
        let (from, mut to) = split(self.podman.upgrade(Ask::post(attach), "attach to the container").await?);
        self.podman.ask(Ask::post(self.path("start"))).await?.done("start the container")?;
        self.resize().await;
        let mut input = input();
        tokio::spawn(async move {
            while let Some(bytes) = input.recv().await {
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            to.shutdown().await.ok();
        });
        let has_ended = CancellationToken::new();
        let (outlet, writer) = output();
        let frames = (!self.has_terminal).then(Frames::default);
        let passing = tokio::spawn(pass_on(from, frames, outlet, has_ended.clone()));
        let ended = self.podman.ask(Ask::post(self.path("wait?condition=stopped")).unlimited());
        tokio::pin!(ended);
        let mut killed_by = None;
        let ended = loop {
            tokio::select! {
                order = signals.next() => match order {
                    Order::Resize => self.resize().await,
                    Order::Signal(number) => killed_by = killed_by.or(self.signal(number).await),
                },
                ended = &mut ended => break ended?.done("wait for the container")?,
            }
        };
        has_ended.cancel();
        passing.await.ok();
        writer.join().ok();
        let code = exit_code(self.podman, self.name, &ended).await?;
        Ok(killed_by.filter(|_| code == BY_SIGNAL + SIGKILL).map_or(code, |number| BY_SIGNAL.saturating_add(number)))
    }

    /// Applies the size of the process's terminal to the container's terminal.
    async fn resize(&self) {
        let Some(size) = tcgetwinsize(io::stdin()).ok().filter(|_| self.has_terminal) else { return };
        let path = self.path(&format!("resize?h={}&w={}", size.ws_row, size.ws_col));
        // A container that has ended has no terminal.
        self.podman.ask(Ask::post(path)).await.ok();
    }

    /// Passes a signal on; returns the signal if SIGKILL was sent instead.
    ///
    /// The kernel drops a signal for the first process of a container without a handler. Outside of a container the
    /// signal would end the process, so the process is killed here as well.
    async fn signal(&self, number: u8) -> Option<u8> {
        let state = self.podman.ask(Ask::get(self.path("json"))).await.ok()?.value();
        let pid = state.pointer("/State/Pid").and_then(Value::as_u64).filter(|pid| *pid > 0)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kills = has_no_handler(&status, number);
        let sent = if kills { SIGKILL } else { number };
        // The process may have ended in the meantime.
        self.podman.ask(Ask::post(self.path(&format!("kill?signal={sent}")))).await.ok()?;
        kills.then_some(number)
    }
}

/// Returns true if a process neither handles nor ignores a signal, by its `/proc/PID/status`.
fn has_no_handler(status: &str, number: u8) -> bool {
    let mask = |name: &str| {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok()
    };
    let bit = 1_u64.checked_shl(u32::from(number.saturating_sub(1))).unwrap_or_default();
    matches!((mask("SigIgn:"), mask("SigCgt:")), (Some(ignored), Some(caught)) if (ignored | caught) & bit == 0)
}

/// Returns the exit code if preparing the container reported a program that cannot be executed.
fn not_executed(answered: &Answered) -> Option<u8> {
    let value = answered.value();
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    // The same causes appear in different errors, such as a failed mount of a folder.
    text("message").filter(|message| EXECUTES.iter().any(|words| message.contains(words)))?;
    match text("cause")? {
        "OCI permission denied" => Some(NOT_EXECUTABLE),
        "OCI runtime attempted to invoke a command that was not found" => Some(MISSING),
        _ => None,
    }
}

const fn why(code: u8) -> &'static str {
    match code {
        MISSING => "is no program of the image",
        _ => "may not be executed",
    }
}

/// Reads standard input.
fn input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(PIECES_WAITING);
    // Ends with the process: a blocking read cannot be cancelled.
    std::thread::spawn(move || {
        let (mut stdin, mut buffer) = (io::stdin().lock(), vec![0; READ_BYTES]);
        loop {
            match stdin.read(&mut buffer) {
                Ok(length) => {
                    let piece = buffer.get(..length).filter(|piece| !piece.is_empty());
                    let Some(piece) = piece else { return };
                    if sender.blocking_send(piece.to_vec()).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// Writes output in a thread: a slow reader does not delay signals.
fn output() -> (mpsc::Sender<Piece>, JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel::<Piece>(PIECES_WAITING);
    let writer = std::thread::spawn(move || {
        while let Some((output, bytes)) = receiver.blocking_recv() {
            output.write(&bytes);
        }
    });
    (sender, writer)
}

/// Passes output on until the end, or until an ended container is silent.
async fn pass_on(
    mut from: ReadHalf<TokioIo<Upgraded>>,
    mut frames: Option<Frames>,
    to: mpsc::Sender<Piece>,
    has_ended: CancellationToken,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = async { has_ended.cancelled().await; tokio::time::sleep(LAST_SILENCE_MAX).await } => return,
        };
        let Some(bytes) = read.ok().and_then(|length| buffer.get(..length)).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        let mut pieces: Vec<Piece> = Vec::new();
        match &mut frames {
            None => pieces.push((Output::Stdout, bytes.to_vec())),
            Some(frames) => {
                if frames.read(bytes, |output, piece| pieces.push((output, piece.to_vec()))).is_err() {
                    return;
                }
            }
        }
        for piece in pieces {
            if to.send(piece).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_without_a_handler_is_known_by_the_status_of_its_process() {
        // SIGHUP is ignored, SIGINT is handled.
        let status = "Name:\tsh\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000000002\n";
        let without: Vec<u8> = [1, 2, 3, 15].into_iter().filter(|number| has_no_handler(status, *number)).collect();
        assert_eq!(without, [3, 15]);
        for unknown in ["", "SigIgn:\tx\nSigCgt:\t0\n", "SigIgn:\t0\n"] {
            assert!(!has_no_handler(unknown, 15), "{unknown}");
        }
    }
}
