//! Pseudo-terminals that an instance has to itself, in a namespace of mounts of its own: those of the machine are few,
//! and an instance that could open them all would leave none to a login, or to a command of another app.
//!
//! The kernel counts those of all such folders too (`kernel.pty.max`), and keeps a part of them for the machine's own
//! (`kernel.pty.reserve`), which no folder that is mounted in another namespace gets any of. The terminal of an
//! attached instance is one of the machine's therefore, and is put among the instance's own by its name alone.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::{self, Errno};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use rustix::pty::{OpenptFlags, openpt, ptsname};
use rustix::stdio::stdin;
use rustix::termios::isatty;

/// Most terminals of an instance at once, that of `devanture run` among them. One that is a container has as many.
pub const TERMINALS_MAX: u32 = 32;
/// Where terminals are.
const FOLDER: &str = "/dev/pts";
/// What opens a new one, in that folder …
const IN_FOLDER: &str = "/dev/pts/ptmx";
/// … and where programs open it.
const OPENED: &str = "/dev/ptmx";

/// The name of the terminal that is the standard input.
pub(super) struct TerminalName {
    pub(super) path: CString,
    /// Keeps the name: for as long as this is open.
    pub(super) place: OwnedFd,
}

/// Replaces the terminals of the machine, in the namespace of mounts of this process. Gives the new name of its
/// terminal, if it has one; without a name, it can be used all the same where it is open.
///
/// # Errors
/// The kernel's, where they stay those of the machine.
pub(super) fn enter() -> io::Result<Option<TerminalName>> {
    // Before anything is put in front of it.
    let own = own_terminal();
    let options = CString::new(format!("newinstance,ptmxmode=0666,mode=620,max={TERMINALS_MAX}"));
    let options = options.map_err(|_zero| Errno::INVAL)?;
    mount("devpts", FOLDER, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())?;
    // It may be a link into the folder, or missing.
    if fs::canonicalize(OPENED).is_ok_and(|path| path != Path::new(IN_FOLDER)) {
        mount_bind(IN_FOLDER, OPENED).inspect_err(|_refused| {
            unmount(FOLDER, UnmountFlags::DETACH).ok();
        })?;
    }
    Ok(own.and_then(|own| name(&own).ok()))
}

/// The file of the terminal that is the standard input, where that is one.
fn own_terminal() -> Option<OwnedFd> {
    if !isatty(stdin()) {
        return None;
    }
    let path = fs::read_link("/proc/self/fd/0").ok()?;
    let file = openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (found, own) = (fstat(&file).ok()?, fstat(stdin()).ok()?);
    ((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)).then_some(file)
}

/// Names a terminal of the machine among those of the folder, where no file can be made: it takes the place of one.
fn name(terminal: &OwnedFd) -> io::Result<TerminalName> {
    let place = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let path = ptsname(&place, Vec::new())?;
    mount_bind(format!("/proc/self/fd/{}", terminal.as_raw_fd()).as_str(), path.as_c_str())?;
    Ok(TerminalName { path, place })
}
