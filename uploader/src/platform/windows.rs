//! Windows, and every system that is no Unix. What a system lacks is said or left out, and never pretended: no
//! owners as numbers, and no terminal for a command.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use devanture_config::api::TerminalSize;
use devanture_config::run_stream::RunSignal;

use super::SIZE;

/// Makes a folder, with its parents. It has the rights of the folder around it, which in a user's profile is closed to
/// other users.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(folder)
}

/// A file has the rights of its folder.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Rights are lists here, which are not read: a file in a user's profile is taken for that user's alone.
pub(crate) fn is_private(_file: &File) -> bool {
    true
}

/// There are no numbers of users.
pub(crate) fn owner_of(_metadata: &Metadata) -> Option<u32> {
    None
}

/// Who owns a file is not known.
pub(crate) fn is_own(_metadata: &Metadata) -> bool {
    true
}

/// Not known; an error says that a disk is full.
pub(crate) fn disk_bytes(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// A path of git's index as the system has it; `None` if it is no UTF-8.
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// Nothing like it: a job that is cancelled ends without a signal, or by Ctrl-C.
pub(crate) async fn terminated() {
    pending().await
}

/// Ctrl-C, which `run` passes on to its command.
pub(crate) struct Signals;

impl Signals {
    pub(crate) fn new() -> Self {
        Self
    }

    /// The next one. May be dropped before it is ready.
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

/// A size that nobody reads.
pub(crate) fn terminal_size() -> TerminalSize {
    SIZE
}

/// Nothing, since no command gets a terminal.
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

/// What is typed is always shown: a question for a secret is refused.
pub(crate) struct Hidden;

impl Hidden {
    pub(crate) fn new() -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "what is typed cannot be hidden here"))
    }
}

/// Would connect to a socket of this machine.
///
/// # Errors
/// Always.
pub(crate) fn local_socket(_path: &OsStr, _time_max: Duration) -> io::Result<impl io::Read + io::Write> {
    Err::<io::Empty, _>(io::Error::other("there are no such sockets on this system"))
}
