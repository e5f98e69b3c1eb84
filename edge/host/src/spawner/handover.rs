//! What the next edge needs to go on with a spawner and the instances that it runs, beside the connection itself.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::settings::Means;
use super::wire::PROTOCOL;

/// A spawner that changes hands. It writes nothing until the next edge resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSpawner {
    /// The protocol that it speaks.
    pub(super) protocol: u32,
    /// The first key that no instance, task or measurement has had.
    pub(super) next_key: u64,
    /// Keys of all instances that it runs, also those that are not handed over.
    pub(super) keys: Vec<u64>,
    pub(super) means: Means,
    /// The first and the last of the users that it has claimed.
    pub(super) claimed: Option<(u32, u32)>,
    /// Users that instances were started as.
    pub(super) users: Vec<u32>,
}

/// A running process of an instance, which changes hands with its spawner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedProcess {
    pub(super) key: u64,
    /// The main process.
    pub pid: u32,
}

/// A spawner that changes hands, with the connection to it.
#[derive(Debug)]
pub struct SpawnerConnection {
    /// Its state.
    pub state: HandedSpawner,
    /// The socket.
    pub socket: OwnedFd,
}

impl HandedSpawner {
    /// Whether this program speaks its protocol: it stays the program that the first edge was.
    pub(super) const fn is_understood(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

/// Makes the connection that was received one of this process's runtime.
pub(super) fn connection(socket: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}
