//! Differences between systems: rights and owners of files, free disk space, signals, local sockets, and the terminal.
//! The opening of files is in `devanture-project`. All other code is the same on all systems, except `dev`, which
//! exists only on Unix, like the edge.
//!
//! `unix` is tested on Linux; `windows`, which all other systems use, has never been compiled or tested.

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

/// The size if the terminal has none.
const SIZE: TerminalSize = TerminalSize { rows: 24, columns: 80 };
