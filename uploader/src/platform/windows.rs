//! Windows, and all systems other than Unix. Missing features are reported or left out, and never imitated: no owners
//! as numbers, and no terminal for a command.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::api::TerminalSize;
use devanture_config::run_stream::RunSignal;

use super::SIZE;

/// Creates a folder, with its parents. The folder inherits its rights, which exclude other users in a user's profile.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(folder)
}

/// Does nothing: a file inherits the rights of its folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Returns true: access lists are not read, and a file in a user's profile counts as private.
pub(crate) fn is_private(_file: &File) -> bool {
    true
}

/// There are no numbers of users.
pub(crate) fn owner_of(_metadata: &Metadata) -> Option<u32> {
    None
}

/// Returns true, as owners are unknown.
pub(crate) fn is_own(_metadata: &Metadata) -> bool {
    true
}

/// Returns `None`; a full disk shows by an error.
pub(crate) fn disk_bytes(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// Converts a path of git's index; `None` if the path is not UTF-8.
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// Waits for ever: a cancelled job ends without a signal, or by Ctrl-C.
pub(crate) async fn terminated() {
    pending().await
}

/// Ctrl-C, which `run` passes on to its command.
pub(crate) struct Signals;

impl Signals {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Returns the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> RunSignal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => RunSignal::Interrupt,
            Err(_) => pending().await,
        }
    }
}

/// A command gets pipes.
pub(crate) fn has_terminal() -> bool {
    false
}

/// Returns a size without a reader.
pub(crate) fn terminal_size() -> TerminalSize {
    SIZE
}

/// Empty, since no command gets a terminal.
pub(crate) struct Raw;

impl Raw {
    pub(crate) fn enter() -> io::Result<Self> {
        Ok(Self)
    }
}

/// Changes of the terminal's size: none.
pub(crate) struct Sizes;

impl Sizes {
    pub(crate) fn new(_has_terminal: bool) -> Self {
        Self
    }

    pub(crate) async fn next(&mut self) -> TerminalSize {
        pending().await
    }
}

/// Input is always shown: a question for a secret is refused.
pub(crate) struct Hidden;

impl Hidden {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "what is typed cannot be hidden here"))
    }
}

/// Fails: local sockets are not supported.
///
/// # Errors
/// Always.
pub(crate) fn local_socket(_path: &OsStr, _time_max: Duration) -> io::Result<impl io::Read + io::Write> {
    Err::<io::Empty, _>(io::Error::other("there are no such sockets on this system"))
}
