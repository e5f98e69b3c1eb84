//! Pseudo-terminals of instances: allocated by the spawner, attached by the process that becomes the instance.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fchmod, fchown, fcntl_getfl, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::process::{Uid, ioctl_tiocsctty};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::termios::{Winsize, tcsetwinsize};

use super::error::Refusal;
use super::{Attached, WindowSize};

/// Opens a terminal of this size for a user: the end of the spawner, which never blocks, and that of the instance.
///
/// # Errors
/// Where the system has no more of them, or none at all.
pub(super) fn open(size: WindowSize, uid: Option<u32>) -> Result<(OwnedFd, OwnedFd), Refusal> {
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(|error| match error {
        // As POSIX has it, and as Linux.
        Errno::AGAIN | Errno::NOSPC => Refusal::no_terminal_left(),
        error => Refusal::unattached(error),
    })?;
    opened(own, size, uid).map_err(Refusal::unattached)
}

fn opened(own: OwnedFd, size: WindowSize, uid: Option<u32>) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    grantpt(&own)?;
    unlockpt(&own)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let its = ioctl_tiocgptpeer(&own, flags)?;
    resize(&own, size)?;
    // For programs that open their terminal by its name. Where the spawner may not, they have what is open already.
    if let Some(uid) = uid {
        fchown(&its, Some(Uid::from_raw(uid)), None).ok();
    }
    fchmod(&its, Mode::RUSR | Mode::WUSR).ok();
    fcntl_setfl(&own, fcntl_getfl(&own)? | OFlags::NONBLOCK)?;
    Ok((own, its))
}

/// Sets the size, of which the programs in front are notified.
///
/// # Errors
/// Where it is no terminal.
pub(super) fn resize(terminal: &OwnedFd, size: WindowSize) -> rustix::io::Result<()> {
    let WindowSize { rows, columns } = size;
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
}

/// Makes `passed` the input of this process, or its controlling terminal with input and outputs. To be called by the
/// leader of a session without a terminal.
///
/// # Errors
/// Where the system refuses it.
pub(super) fn attach(attached: &Attached, passed: OwnedFd) -> rustix::io::Result<()> {
    dup2_stdin(&passed)?;
    if attached.terminal.is_some() {
        dup2_stdout(&passed)?;
        dup2_stderr(&passed)?;
        ioctl_tiocsctty(&passed)?;
    }
    drop(File::from(passed));
    Ok(())
}

/// Opens the terminal of this process by its name, where programs look for the name of what they have open.
///
/// # Errors
/// Where it cannot be opened; then nothing has changed.
pub(super) fn reopen(name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = openat(CWD, name, flags, Mode::empty())?;
    dup2_stdin(&terminal)?;
    dup2_stdout(&terminal)?;
    dup2_stderr(&terminal)
}
