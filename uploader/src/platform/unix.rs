//! Unix: modes, owners, signals and termios.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::api::TerminalSize;
use devanture_config::run_stream::RunSignal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::SIZE;

/// Creates a folder that only the owner can access, with its parents.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Limits the rights of a created file to the owner.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Returns true if only the owner may read a file.
pub(crate) fn is_private(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 == 0)
}

/// Returns the owner of a file, if the system has owners.
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such number")]
pub(crate) fn owner_of(metadata: &Metadata) -> Option<u32> {
    Some(metadata.uid())
}

/// Returns true if the file belongs to the user of this process.
pub(crate) fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Returns the free bytes on the disk of a folder for its user, and the size of the disk.
pub(crate) fn disk_bytes(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

/// Converts a path of git's index.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not every path can be represented")]
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

/// Waits for the signal by which CI ends a job; never ready if the signal cannot be received.
pub(crate) async fn terminated() {
    one(&mut signal(SignalKind::terminate()).ok()).await;
}

/// Waits for a signal, or for ever. Cancel-safe.
async fn one(signal: &mut Option<Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Signals that `run` passes on to its command.
pub(crate) struct Signals([Option<Signal>; 4]);

impl Signals {
    pub(crate) fn new() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        Self(kinds.map(|kind| signal(kind).ok()))
    }

    /// Returns the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> RunSignal {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            () = one(interrupt) => RunSignal::Interrupt,
            () = one(terminate) => RunSignal::Terminate,
            () = one(hangup) => RunSignal::Hangup,
            () = one(quit) => RunSignal::Quit,
        }
    }
}

/// Returns true if stdin and stdout are a terminal that a command may use.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The size of the terminal.
pub(crate) fn terminal_size() -> TerminalSize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => TerminalSize { rows: size.ws_row, columns: size.ws_col },
        _ => SIZE,
    }
}

/// Raw mode of the terminal, until dropped.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes the terminal raw.
    pub(crate) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Drain, &self.before).ok();
    }
}

/// Changes of the terminal's size.
pub(crate) struct Sizes(Option<Signal>);

impl Sizes {
    pub(crate) fn new(has_terminal: bool) -> Self {
        Self(has_terminal.then(|| signal(SignalKind::window_change()).ok()).flatten())
    }

    /// Returns the next size. Cancel-safe.
    pub(crate) async fn next(&mut self) -> TerminalSize {
        one(&mut self.0).await;
        terminal_size()
    }
}

/// Disables the echo of the terminal, until dropped.
pub(crate) struct Hidden {
    before: Termios,
}

impl Hidden {
    /// Disables the echo.
    pub(crate) fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Drain, &hidden)?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        tcsetattr(io::stdin(), OptionalActions::Drain, &self.before).ok();
        // The echo of the typed line break is missing, too.
        writeln!(io::stderr()).ok();
    }
}

/// Connects to a socket of this machine, which answers within `time_max`.
///
/// # Errors
/// An error without a listener.
pub(crate) fn local_socket(path: &OsStr, time_max: Duration) -> io::Result<impl io::Read + io::Write> {
    let stream = UnixStream::connect(Path::new(path))?;
    stream.set_read_timeout(Some(time_max))?;
    stream.set_write_timeout(Some(time_max))?;
    Ok(stream)
}
