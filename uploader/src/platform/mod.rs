//! What differs between systems: rights and owners of files, room on disks, signals, local sockets, and the terminal.
//! How files are opened is in `devanture-project`. Everything else is the same on all of them, but for `dev`, which is
//! there for Unix alone, as the edge is.
//!
//! `unix` is tried on Linux; `windows`, which every other system takes, has been compiled and tried nowhere yet.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{
    Hidden, Raw, Signals, Sizes, disk_bytes, has_terminal, is_own, is_private, local_socket, make_private_folder,
    owner_of, path_of, private, terminal_size, terminated,
};
#[cfg(not(unix))]
pub(crate) use windows::{
    Hidden, Raw, Signals, Sizes, disk_bytes, has_terminal, is_own, is_private, local_socket, make_private_folder,
    owner_of, path_of, private, terminal_size, terminated,
};

use devanture_config::api::TerminalSize;

/// A size where the terminal has none.
const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };
