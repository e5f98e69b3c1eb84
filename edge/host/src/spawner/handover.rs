//! State for the next edge to continue with a spawner and its running instances, besides the connection itself.

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::settings::Means;
use super::wire::PROTOCOL;

/// Spawner during a handover. The spawner writes nothing until the next edge resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSpawner {
    /// Protocol version of the spawner.
    pub(super) protocol: u32,
    /// First key not used by any instance, task or measurement.
    pub(super) next_key: u64,
    /// Keys of all running instances, including instances that are not handed over.
    pub(super) keys: Vec<u64>,
    pub(super) means: Means,
    /// First and last of the claimed users.
    pub(super) claimed: Option<(u32, u32)>,
    /// Users of started instances.
    pub(super) users: Vec<u32>,
}

/// Running process of an instance, handed over with the spawner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedProcess {
    pub(super) key: u64,
    /// Process id of the main process.
    pub pid: u32,
}

/// Spawner during a handover, with the connection.
#[derive(Debug)]
pub struct SpawnerConnection {
    /// State of the spawner.
    pub state: HandedSpawner,
    /// Socket of the connection.
    pub socket: OwnedFd,
}

impl HandedSpawner {
    /// Returns true if this program supports the spawner's protocol: the spawner keeps running the program of the first
    /// edge.
    pub(super) const fn is_understood(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

/// Registers the received connection with the runtime of this process.
pub(super) fn connection(socket: OwnedFd) -> io::Result<tokio::net::UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(socket)
}
