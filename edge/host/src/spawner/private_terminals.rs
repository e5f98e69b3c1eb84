//! Private pseudo-terminals of an instance, in a separate mount namespace: the machine has few terminals, and an
//! instance that opens all of them would leave none to a login, or to a command of another app.
//!
//! The kernel counts the terminals of all private folders too (`kernel.pty.max`), and reserves a part for the machine
//! (`kernel.pty.reserve`), which is unavailable to folders mounted in another namespace. Therefore the terminal of an
//! attached instance belongs to the machine, and only its name is placed among the private terminals.

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

/// Maximum concurrent terminals of an instance, including the terminal of `devanture run`. Containers have the same
/// limit.
pub const TERMINALS_MAX: u32 = 32;
/// Folder of terminals.
const FOLDER: &str = "/dev/pts";
/// Device that opens a new terminal, in the folder …
const IN_FOLDER: &str = "/dev/pts/ptmx";
/// … and the path that programs open.
const OPENED: &str = "/dev/ptmx";

/// Name of the terminal on standard input.
pub(super) struct TerminalName {
    pub(super) path: CString,
    /// Descriptor that keeps the name while open.
    pub(super) place: OwnedFd,
}

/// Replaces the machine's terminals in the mount namespace of the process. Returns the new name of the terminal on
/// standard input, if any; without a name, the open terminal still works.
///
/// # Errors
/// Errors of the kernel; the machine's terminals stay then.
pub(super) fn enter() -> io::Result<Option<TerminalName>> {
    // Before mounting over the folder.
    let own = own_terminal();
    let options = CString::new(format!("newinstance,ptmxmode=0666,mode=620,max={TERMINALS_MAX}"));
    let options = options.map_err(|_zero| Errno::INVAL)?;
    mount("devpts", FOLDER, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options.as_c_str())?;
    // The path may be a link into the folder, or missing.
    if fs::canonicalize(OPENED).is_ok_and(|path| path != Path::new(IN_FOLDER)) {
        mount_bind(IN_FOLDER, OPENED).inspect_err(|_refused| {
            unmount(FOLDER, UnmountFlags::DETACH).ok();
        })?;
    }
    Ok(own.and_then(|own| name(&own).ok()))
}

/// Returns the terminal on standard input, if any.
fn own_terminal() -> Option<OwnedFd> {
    if !isatty(stdin()) {
        return None;
    }
    let path = fs::read_link("/proc/self/fd/0").ok()?;
    let file = openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (found, own) = (fstat(&file).ok()?, fstat(stdin()).ok()?);
    ((found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)).then_some(file)
}

/// Names a terminal of the machine within the folder, in which no file can be created: mounts `terminal` over a new
/// terminal.
fn name(terminal: &OwnedFd) -> io::Result<TerminalName> {
    let place = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    let path = ptsname(&place, Vec::new())?;
    mount_bind(format!("/proc/self/fd/{}", terminal.as_raw_fd()).as_str(), path.as_c_str())?;
    Ok(TerminalName { path, place })
}
