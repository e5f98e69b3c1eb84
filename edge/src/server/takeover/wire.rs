//! The protocol between an edge and the one that takes over from it: frames of JSON behind four bytes of length, and
//! descriptors as ancillary data of single bytes.

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

/// The number of this protocol; an edge that speaks another one is not taken over from.
pub(super) const PROTOCOL: u32 = 2;
/// Most bytes of a frame: a commit holds a few records, and a record is below a few megabytes.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Descriptors in one message; the system's bound is 253.
pub(super) const DESCRIPTORS_AT_ONCE: usize = 16;

/// From the new edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// The first one of a new edge; whether it starts the backends that the running one's last requests are for, and
    /// whether it shows these to readers of the log.
    Begin {
        protocol: u32,
        pid: u32,
        #[serde(default)]
        starts_wanted: bool,
        #[serde(default)]
        shows_lines: bool,
        /// Whether it knows the sockets of HTTP/3.
        #[serde(default)]
        takes_http3: bool,
        /// The formats that it reads.
        #[serde(default)]
        reads: FormatsRead,
    },
    /// The first one, and the last, of a program that only looks whether it could take over.
    Probe,
    /// Which of this, that the new edge lacks, does it serve? Also the first one, and then the last, of a program that
    /// only looks.
    Serves(Vec<Lacking>),
    /// Release the catalog.
    Release,
    /// Hand the instances over.
    Instances,
    /// How many pushes were begun within the hour?
    Pushes,
    /// It serves.
    Serving,
    /// It made this commit.
    Committed(Sent),
    /// A backend that it runs has these instances.
    Run { id: RunId, now: Option<RunNow> },
    /// It is to end itself, and so is the other one: as soon as an edge that nobody takes over from.
    EndSooner,
}

/// From the running edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The process, what each of the sockets is for whose descriptors follow, and the name that its log has in the ids
    /// of lines.
    Sockets {
        pid: u32,
        sockets: Vec<Listening>,
        #[serde(default)]
        log_run: Option<String>,
        /// The byte of its process in the connection ids of QUIC, where it has sockets of HTTP/3.
        #[serde(default)]
        generation: Option<u8>,
        /// Whether it answers [`Request::Serves`].
        #[serde(default)]
        tells_served: bool,
        /// Whether it answers [`Request::Pushes`].
        #[serde(default)]
        tells_pushes: bool,
    },
    /// The catalog can be opened.
    Released,
    /// The instances, whose descriptors follow; `None` where it runs none.
    Instances(Option<Box<Handed>>),
    /// The pushes of each app within the hour.
    Pushes(Vec<CountedPushes>),
    /// The process, the protocol that it speaks, and what a new edge would have to go on with.
    Probed {
        pid: u32,
        protocol: u32,
        runner: Option<Terms>,
        /// Whether it answers [`Request::Serves`].
        #[serde(default)]
        tells_served: bool,
        /// Where it listens.
        #[serde(default)]
        held: Option<Held>,
        /// What it serves from memory alone, as it is damaged on the disk.
        #[serde(default)]
        in_memory_alone: Vec<Lacking>,
    },
    /// The environments that it serves what the new edge lacks of.
    Serves(Vec<(AppName, PlaceName)>),
    /// A request that it still has is for this backend, which nobody runs yet.
    Wanted(Box<WantedRun>),
    /// A request that it answered while it drained, and has logged.
    Line(Box<LogLine>),
    /// It stays.
    Refused { pid: u32, reason: String },
}

/// A backend that a request is for.
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

/// The addresses that an edge listens on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Those that it hands over.
    pub(crate) listening: Vec<Listening>,
    /// The one for other nodes of a cluster.
    pub(crate) nodes: Option<SocketAddr>,
}

/// What a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Listener {
    Admin,
    Http,
    /// A UDP socket of a thread, in the order of the threads.
    Http3,
    /// Where packets go of the running edge's connections, of the same thread.
    Http3Forward,
    Https,
}

/// A commit; values are base64, `None` where a record was deleted.
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
    /// The commit.
    ///
    /// # Errors
    /// Where a value is no base64.
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

/// The frame of a message.
///
/// # Errors
/// Where it is too long.
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

/// Reads one message, and blocks until it is there.
///
/// # Errors
/// Errors of the socket, its end included, and a message that is none.
pub(super) fn read<M: DeserializeOwned>(mut from: impl Read) -> io::Result<M> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let mut body = vec![0; length(head)?];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// As [`read`], without blocking.
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
/// Errors of the socket, such as that it would block.
pub(super) fn send_descriptors(to: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(too_long());
    }
    sendmsg(to, &[IoSlice::new(&[0])], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives what one call of [`send_descriptors`] sent.
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
