//! Unix: modes, owners, `openat`, signals and termios.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::TerminalSize;
use devanture_config::run_stream::RunSignal;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::SIZE;

/// Makes a folder for its owner alone, with its parents.
pub(crate) fn make_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Has a file that is created be for its owner alone.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Whether nobody but the owner may read a file.
pub(crate) fn is_private(file: &File) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.mode() & 0o077 == 0)
}

/// The user that owns a file, where the system has such.
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such number")]
pub(crate) fn owner_of(metadata: &Metadata) -> Option<u32> {
    Some(metadata.uid())
}

/// Whether the file belongs to the user who runs this program.
pub(crate) fn is_own(metadata: &Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether the owner may run the file.
pub(crate) fn may_run(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o100 != 0
}

/// Whether the file is a program, and no link.
pub(crate) fn is_program(path: &Path) -> bool {
    let found = path.symlink_metadata();
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Device, inode and time of the inode's last change; a file that was put in another's place has others.
pub(crate) fn identity(metadata: &Metadata) -> (u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

/// The bytes that are free on the disk of a folder for its user, and all of its bytes.
pub(crate) fn disk_bytes(folder: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some((bytes(stat.f_bavail), bytes(stat.f_blocks)))
}

/// A path of git's index as the system has it.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not every path can be represented")]
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

const FOLDER: OFlags = LOOK.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
/// A folder need not be listed to open a file in it.
#[cfg(any(target_os = "android", target_os = "linux"))]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "android", target_os = "linux")))]
const LOOK: OFlags = OFlags::RDONLY;
/// A pipe without a writer must not be waited for.
const FILE: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

/// A folder that is held open: what is opened beneath it is so by this descriptor, whatever its path names meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct OpenFolder(Arc<OwnedFd>);

impl OpenFolder {
    /// Opens the folder at `path`, which holds no link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(openat(CWD, path, FOLDER, Mode::empty())?)))
    }

    /// Opens a folder beneath this one, by plain names.
    pub(crate) fn folder(&self, relative: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(descend(&self.0, relative, FOLDER)?)))
    }

    /// Opens what is beneath this folder, by plain names, for reading.
    pub(crate) fn file(&self, relative: &Path) -> io::Result<File> {
        descend(&self.0, relative, FILE).map(File::from)
    }
}

/// Opens `relative` without following links: by one call where the system has it, else component by component.
fn descend(root: &OwnedFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        use rustix::fs::{ResolveFlags, openat2};
        use rustix::io::Errno;
        let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);
        match openat2(root, relative, flags, Mode::empty(), resolve) {
            // Linux has it since 5.6, and sandboxes may forbid calls that they do not know.
            Err(Errno::NOSYS | Errno::PERM) => {}
            // A rename at the same time makes the kernel give up rather than be wrong.
            Err(Errno::AGAIN) => {}
            opened => return Ok(opened?),
        }
    }
    by_components(root, relative, flags)
}

fn by_components(root: &OwnedFd, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let mut names: Vec<&OsStr> = relative.iter().collect();
    let last = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
    let mut folder: Option<OwnedFd> = None;
    for name in names {
        let within = folder.as_ref().unwrap_or(root).as_fd();
        folder = Some(openat(within, name, FOLDER, Mode::empty())?);
    }
    Ok(openat(folder.as_ref().unwrap_or(root), last, flags, Mode::empty())?)
}

/// Waits for the signal by which CI ends a job; never ready if it cannot be received.
pub(crate) async fn terminated() {
    one(&mut signal(SignalKind::terminate()).ok()).await;
}

/// Waits for a signal, or for ever. May be dropped before it is ready.
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

    /// The next one. May be dropped before it is ready.
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

/// Whether this program reads from a terminal that a command may use, and writes to one.
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

/// The terminal is raw for as long as this lives.
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

    /// The next size. May be dropped before it is ready.
    pub(crate) async fn next(&mut self) -> TerminalSize {
        one(&mut self.0).await;
        terminal_size()
    }
}

/// Keeps the terminal from showing what is typed, until it is dropped.
pub(crate) struct Hidden {
    before: Termios,
}

impl Hidden {
    /// Stops showing it.
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
        // The line break that was typed was not shown either.
        writeln!(io::stderr()).ok();
    }
}

/// Connects to a socket of this machine, which answers within `time_max`.
///
/// # Errors
/// Where nobody listens there.
pub(crate) fn local_socket(path: &OsStr, time_max: Duration) -> io::Result<impl io::Read + io::Write> {
    let stream = UnixStream::connect(Path::new(path))?;
    stream.set_read_timeout(Some(time_max))?;
    stream.set_write_timeout(Some(time_max))?;
    Ok(stream)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_lies_beneath_a_folder_is_opened_by_components_as_by_one_call() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/deep")).unwrap();
        std::fs::write(folder.path().join("a/b"), "").unwrap();
        symlink("b", folder.path().join("a/link")).unwrap();
        symlink("a", folder.path().join("way")).unwrap();
        let root = OpenFolder::open(folder.path()).unwrap();
        assert!(by_components(&root.0, Path::new("a/b"), FILE).is_ok() && root.file(Path::new("a/b")).is_ok());
        for refused in ["a/link", "way/b", "a/b/c", "a/missing"] {
            assert!(by_components(&root.0, Path::new(refused), FILE).is_err(), "{refused}");
            assert!(root.file(Path::new(refused)).is_err(), "{refused}");
        }
    }
}
