//! The protocol between an edge and its successor: JSON frames after a length of four bytes, and descriptors as
//! ancillary data of single bytes.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use devanture_config::api::LogLine;
use devanture_config::manifest::Managed;
use devanture_config::{AppName, PlaceName, VersionId};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::formats::FormatsRead;
use devanture_control::publish::CountedPushes;
use devanture_control::runner::{Handed, Terms};
use devanture_serve::live::Lacking;
use devanture_serve::proxy::{RunId, RunNow, RunOrigin};
use devanture_serve::version::Setting;
use devanture_store::catalog::{Change, Committed, Revision};

/// Version of the protocol; an edge with another version cannot be taken over.
pub(super) const PROTOCOL: u32 = 2;
/// Maximum size of a frame: a commit holds a few records, and a record is below a few megabytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Number of descriptors in one message; the system's limit is 253.
pub(super) const DESCRIPTORS_AT_ONCE: usize = 16;

/// Message of the new edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// First message of a new edge. `starts_wanted` is true if the new edge starts backends for the last requests of
    /// the running edge, and `shows_lines` if the new edge shows the requests to log readers.
    Begin {
        protocol: u32,
        pid: u32,
        #[serde(default)]
        starts_wanted: bool,
        #[serde(default)]
        shows_lines: bool,
        /// True if the new edge knows HTTP/3 sockets.
        #[serde(default)]
        takes_http3: bool,
        /// The formats that the new edge reads.
        #[serde(default)]
        reads: FormatsRead,
    },
    /// First and last message of a program that only probes.
    Probe,
    /// Query: environments that the new edge lacks, and the running edge may serve. Also the first and last message of
    /// a program that only probes.
    Serves(Vec<Lacking>),
    /// Request to release the catalog.
    Release,
    /// Request to hand the instances over.
    Instances,
    /// Query: number of pushes begun within the hour.
    Pushes,
    /// Report that the new edge serves.
    Serving,
    /// Report of a commit by the new edge.
    Committed(Sent),
    /// Report of the instances of a backend run by the new edge.
    Run { id: RunId, now: Option<RunNow> },
    /// Request to end as soon as an edge without a successor, because the new edge has the same request.
    EndSooner,
}

/// Message of the running edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The process, the kinds of the sockets whose descriptors follow, and the name of the running edge's log in the
    /// ids of lines.
    Sockets {
        pid: u32,
        sockets: Vec<Listening>,
        #[serde(default)]
        log_run: Option<String>,
        /// The generation byte of the running edge in the connection ids of QUIC, with HTTP/3 sockets.
        #[serde(default)]
        generation: Option<u8>,
        /// True if the running edge answers [`Request::Serves`].
        #[serde(default)]
        tells_served: bool,
        /// True if the running edge answers [`Request::Pushes`].
        #[serde(default)]
        tells_pushes: bool,
    },
    /// The catalog can be opened.
    Released,
    /// The instances, whose descriptors follow; `None` without instances.
    Instances(Option<Box<Handed>>),
    /// The pushes within the hour, by app.
    Pushes(Vec<CountedPushes>),
    /// The process, its protocol version, and the state that a new edge would have to continue.
    Probed {
        pid: u32,
        protocol: u32,
        runner: Option<Terms>,
        /// True if the running edge answers [`Request::Serves`].
        #[serde(default)]
        tells_served: bool,
        /// The addresses of the listeners.
        #[serde(default)]
        held: Option<HeldListeners>,
        /// Versions served only from memory, because they are damaged on the disk.
        #[serde(default)]
        in_memory_alone: Vec<Lacking>,
    },
    /// Environments that the running edge serves and the new edge lacks.
    Serves(Vec<(AppName, PlaceName)>),
    /// A backend that a request in flight needs and no edge runs yet.
    Wanted(Box<WantedRun>),
    /// A request answered and logged during the drain.
    Line(Box<LogLine>),
    /// The running edge stays.
    Refused { pid: u32, reason: String },
}

/// A backend needed by a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WantedRun {
    id: RunId,
    version: VersionId,
    managed: Managed,
    trusted: bool,
    is_preview: bool,
}

impl WantedRun {
    pub(super) fn new(id: RunId, origin: &RunOrigin) -> Self {
        Self {
            id,
            version: origin.version,
            managed: (*origin.managed).clone(),
            trusted: origin.trusted,
            is_preview: origin.setting == Setting::Preview,
        }
    }

    pub(super) fn into_parts(self) -> (RunId, RunOrigin) {
        let setting = if self.is_preview { Setting::Preview } else { Setting::Environment };
        let Self { id, version, managed, trusted, .. } = self;
        (id, RunOrigin { version, managed: Arc::new(managed), trusted, setting })
    }
}

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    pub(crate) address: SocketAddr,
}

/// The addresses of an edge's listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeldListeners {
    /// Listeners that are handed over.
    pub(crate) listening: Vec<Listening>,
    /// Listener for other nodes of a cluster.
    pub(crate) nodes: Option<SocketAddr>,
}

/// Kind of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Listener {
    Admin,
    Http,
    /// A UDP socket of a thread, in the order of the threads.
    Http3,
    /// Destination of packets for the running edge's connections, for the same thread.
    Http3Forward,
    Https,
}

/// A commit; values are in base64, `None` for a deleted record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sent {
    revision: Revision,
    changes: Vec<(String, Option<String>)>,
}

impl From<&Committed> for Sent {
    fn from(committed: &Committed) -> Self {
        let changes = committed.changes.iter().map(|change| match change {
            Change::Delete(key) => (key.clone(), None),
            Change::Put(key, value) => (key.clone(), Some(STANDARD.encode(value))),
        });
        Self { revision: committed.revision, changes: changes.collect() }
    }
}

impl Sent {
    /// Converts the message to a commit.
    ///
    /// # Errors
    /// Fails if a value is not valid base64.
    pub(super) fn committed(self) -> io::Result<Committed> {
        let change = |(key, value): (String, Option<String>)| {
            Ok(match value {
                None => Change::Delete(key),
                Some(value) => Change::Put(key, STANDARD.decode(value).map_err(io::Error::other)?.into()),
            })
        };
        let changes: io::Result<Vec<Change>> = self.changes.into_iter().map(change).collect();
        Ok(Committed { revision: self.revision, changes: changes?.into() })
    }
}

/// Encodes a message as a frame.
///
/// # Errors
/// The message is too long.
pub(super) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_BYTES_MAX).ok_or_else(too_long)?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is too long")
}

fn length(head: [u8; 4]) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(head)).ok().filter(|length| *length <= FRAME_BYTES_MAX).ok_or_else(too_long)
}

/// Reads one message, and blocks until the message is complete.
///
/// # Errors
/// Errors of the socket, including its end, and an invalid message.
pub(super) fn read<M: DeserializeOwned>(mut from: impl Read) -> io::Result<M> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Reads one message as [`read`] does, without blocking.
///
/// # Errors
/// As [`read`].
pub(super) async fn receive<M: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Sends up to [`DESCRIPTORS_AT_ONCE`] descriptors.
///
/// # Errors
/// Errors of the socket, for example that the call would block.
pub(super) fn send_descriptors(to: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(too_long());
    }
    sendmsg(to, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives the descriptors of one call of [`send_descriptors`].
///
/// # Errors
/// Errors of the socket.
pub(super) fn receive_descriptors(from: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(rights.flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_socket_that_is_sent_goes_on_listening_when_its_sender_has_closed_it() {
        let (near, far) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        send_descriptors(&near, &[listener.as_fd()]).unwrap();
        drop(listener);
        let [received] = receive_descriptors(&far).unwrap().try_into().unwrap();
        let received = TcpListener::from(received);
        assert_eq!(received.local_addr().unwrap(), address);
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(received.accept().unwrap().1, client.local_addr().unwrap());
        drop(near);
        assert_eq!(receive_descriptors(&far).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn a_commit_arrives_as_it_was_made(
            revision: u64,
            changes in prop::collection::vec(("\\PC{0,9}", prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..5),
        ) {
            let change = |(key, value): (String, Option<Vec<u8>>)| match value {
                Some(value) => Change::Put(key, value.into()),
                None => Change::Delete(key),
            };
            let made = Committed { revision, changes: changes.into_iter().map(change).collect() };
            let bytes = frame(&Request::Committed(Sent::from(&made))).unwrap();
            let Request::Committed(sent) = read(bytes.as_slice()).unwrap() else { panic!("another message") };
            prop_assert_eq!(sent.committed().unwrap(), made);
        }

        #[test]
        fn bytes_that_are_no_message_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(read::<Answer>(bytes.as_slice()).is_err());
        }
    }
}
