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

/// Opens a terminal of a given size for a user; returns the non-blocking end of the spawner, and the end of the
/// instance.
///
/// # Errors
/// Fails if the system has no more terminals, or no terminals at all.
pub(super) fn open(size: WindowSize, uid: Option<u32>) -> Result<(OwnedFd, OwnedFd), Refusal> {
    let own = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(|error| match error {
        // The errors of POSIX and of Linux.
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
    // For programs that open their terminal by name. Without the privilege, programs use the open descriptor.
    if let Some(uid) = uid {
        fchown(&its, Some(Uid::from_raw(uid)), None).ok();
    }
    fchmod(&its, Mode::RUSR | Mode::WUSR).ok();
    fcntl_setfl(&own, fcntl_getfl(&own)? | OFlags::NONBLOCK)?;
    Ok((own, its))
}

/// Sets the size, and notifies the foreground programs.
///
/// # Errors
/// Fails for anything but a terminal.
pub(super) fn resize(terminal: &OwnedFd, size: WindowSize) -> rustix::io::Result<()> {
    let WindowSize { rows, columns } = size;
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
}

/// Makes `passed` the input of this process, or the controlling terminal with input and outputs. Must be called by a
/// session leader without a terminal.
///
/// # Errors
/// Fails if the system refuses.
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

/// Reopens the terminal of this process by name, for programs that look up the name of their open terminal.
///
/// # Errors
/// Fails if the terminal cannot be opened; nothing has changed then.
pub(super) fn reopen(name: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = openat(CWD, name, flags, Mode::empty())?;
    dup2_stdin(&terminal)?;
    dup2_stdout(&terminal)?;
    dup2_stderr(&terminal)
}
