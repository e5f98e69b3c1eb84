//! The protocol of the edge and its spawner over one Unix socket: frames with a length, a kind and a body.
//!
//! A frame is four bytes of length (big endian, of what follows), one byte of kind, and the body. Messages are JSON;
//! output is eight bytes of the instance's key, one byte of the stream, and the bytes as they are. Output flows by
//! credit: the spawner sends no more of an instance than the edge said it has taken, beyond [`WINDOW_BYTES`]. Input is
//! eight bytes of the key and the bytes as they are, and none at its end; it flows by the same credit in the other
//! direction.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::Refusal;
use super::measure::{Measured, MeasuredFolder};
use super::user_task::UserTask;
use super::{Attached, Exit, InstanceLimits, PassedSignal, Stream, Temporary, Usage, WindowSize};

/// Most bytes of a frame after its length. What one program can be started with is below that on every Linux.
pub(super) const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most bytes of output in one frame.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;
/// Most bytes of output of one instance that are on their way or wait to be taken.
pub(super) const WINDOW_BYTES: usize = 256 * 1024;
/// The spoken form; both ends are the same program, except across a socket that somebody else listens on.
pub const PROTOCOL: u32 = 6;

const KIND_MESSAGE: u8 = 1;
const KIND_OUTPUT: u8 = 2;
const KIND_INPUT: u8 = 3;
/// Length, kind, key, stream.
const OUTPUT_HEAD_BYTES: usize = 4 + 1 + 8 + 1;

/// From the edge to the spawner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The first one: the edge, where its backends are, and ranges of users of whom nothing may be left from an earlier
    /// run, each by its first and its last one.
    Begin { protocol: u32, edge_id: String, folder: String, left: Vec<(u32, u32)> },
    /// Start an instance, which is called `key` from then on.
    Launch(Box<Start>),
    /// SIGTERM to the instance's process group.
    Terminate { key: u64 },
    /// SIGKILL to everything of the instance.
    Kill { key: u64 },
    /// So many bytes of output were taken.
    Credit { key: u64, bytes: u32 },
    /// Input of an instance that is attached; empty at its end. It is no message, but a frame of a kind of its own.
    #[serde(skip)]
    Input { key: u64, bytes: Bytes },
    /// The terminal of an instance has another size.
    Resize { key: u64, size: WindowSize },
    /// A signal to the instance's process group.
    Signal { key: u64, signal: PassedSignal },
    /// Measure what lies in folders, and what these instances have open that has no name any more.
    Measure { request: u64, folders: Vec<MeasuredFolder>, keys: Vec<u64>, files_max: u64 },
    /// SIGKILL to every process of a user, again and again until none is left.
    EndUser { key: u64, uid: u32 },
    /// Something is to be done as a user.
    Task { key: u64, uid: u32, task: UserTask },
    /// Write nothing after [`Event::Paused`] until [`Order::Resume`]: the connection goes to the next edge.
    Pause,
    /// Go on, for the edge that has the connection now.
    Resume,
}

/// The start parameters of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) key: u64,
    pub(super) id: String,
    pub(super) command: Vec<String>,
    pub(super) folder: String,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) uid: Option<u32>,
    pub(super) limits: InstanceLimits,
    pub(super) temporary: Option<Temporary>,
    pub(super) keep: Vec<PathBuf>,
    /// Its input, and its terminal if it has one, are the edge's.
    pub(super) attached: Option<Attached>,
}

/// From the spawner to the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Event {
    /// The answer to `Begin`, with why there are no control groups, and no private folders, if there are none; `uids`
    /// are the first and the last of the users that the spawner has claimed for the edge, where it does that.
    Ready {
        protocol: u32,
        no_groups: Option<String>,
        no_folders: Option<String>,
        uids: Option<(u32, u32)>,
    },
    /// The answer to `Begin` of an edge for which nothing is started.
    Unready {
        reason: String,
    },
    Started {
        key: u64,
        pid: u32,
    },
    /// The instance was not started, and no event of it follows.
    Refused {
        key: u64,
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// The current usage of an instance.
    Used {
        key: u64,
        usage: Usage,
    },
    /// So many bytes of input were taken.
    InputTaken {
        key: u64,
        bytes: u32,
    },
    /// The answer to `Measure`.
    Measured {
        request: u64,
        measured: Measured,
    },
    /// The answer to `EndUser` and `Task`; `error` is why it was not done.
    Done {
        key: u64,
        error: Option<String>,
    },
    /// The answer to `Pause`, and the last frame until `Resume`.
    Paused,
    /// The last event of an instance: nothing of it runs any more.
    Exited {
        key: u64,
        exit: Exit,
    },
}

/// The content of one frame.
#[derive(Debug)]
pub(super) enum Frame<M> {
    Message(M),
    Output { key: u64, stream: Stream, bytes: Bytes },
    Input { key: u64, bytes: Bytes },
}

/// The frame of a message.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where it is too long.
pub(super) fn message(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0, 0, 0, 0, KIND_MESSAGE];
    serde_json::to_writer(&mut frame, message)?;
    seal(&mut frame)?;
    Ok(frame)
}

/// Writes the length into the frame's head.
fn seal(frame: &mut [u8]) -> io::Result<()> {
    let length = frame.len().saturating_sub(4);
    let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "the message is too long");
    if length > FRAME_BYTES_MAX {
        return Err(too_long());
    }
    let length = u32::try_from(length).map_err(|_too_long| too_long())?;
    let head = frame.get_mut(..4).ok_or_else(too_long)?;
    head.copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The frame of input.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where it is too long.
pub(super) fn input(key: u64, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut frame = vec![0, 0, 0, 0, KIND_INPUT];
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(bytes);
    seal(&mut frame)?;
    Ok(frame)
}

/// A frame of output that is being filled.
pub(super) struct Filling(Vec<u8>);

impl Filling {
    /// A frame with room for [`CHUNK_BYTES`].
    pub(super) fn new(key: u64, stream: Stream) -> Self {
        let mut frame = Vec::with_capacity(OUTPUT_HEAD_BYTES + CHUNK_BYTES);
        frame.extend_from_slice(&[0, 0, 0, 0, KIND_OUTPUT]);
        frame.extend_from_slice(&key.to_be_bytes());
        frame.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        frame.resize(OUTPUT_HEAD_BYTES + CHUNK_BYTES, 0);
        Self(frame)
    }

    /// Where the output is read into.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.0.get_mut(OUTPUT_HEAD_BYTES..).unwrap_or_default()
    }

    /// The frame with the first `count` bytes of its room.
    pub(super) fn filled(mut self, count: usize) -> io::Result<Vec<u8>> {
        self.0.truncate(OUTPUT_HEAD_BYTES + count);
        seal(&mut self.0)?;
        Ok(self.0)
    }
}

/// Reads one frame; `None` if the other end has ended.
///
/// # Errors
/// Errors of the socket, and [`io::ErrorKind::InvalidData`] for an invalid frame.
pub(super) async fn read<M: for<'de> Deserialize<'de>>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Frame<M>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > FRAME_BYTES_MAX {
        return Err(invalid("a frame has a length beyond its bound"));
    }
    let mut body = BytesMut::zeroed(length);
    from.read_exact(&mut body).await?;
    let mut body = body.freeze();
    let kind = body.split_to(1);
    match kind.first() {
        Some(&KIND_MESSAGE) => Ok(Some(Frame::Message(serde_json::from_slice(&body)?))),
        Some(&KIND_OUTPUT) => {
            let (key, rest) = body.split_first_chunk::<8>().ok_or_else(|| invalid("output has no key"))?;
            let stream = match rest.first() {
                Some(1) => Stream::Stdout,
                Some(2) => Stream::Stderr,
                _ => return Err(invalid("output has no stream")),
            };
            Ok(Some(Frame::Output { key: u64::from_be_bytes(*key), stream, bytes: body.slice(9..) }))
        }
        Some(&KIND_INPUT) => {
            let (key, _) = body.split_first_chunk::<8>().ok_or_else(|| invalid("input has no key"))?;
            Ok(Some(Frame::Input { key: u64::from_be_bytes(*key), bytes: body.slice(8..) }))
        }
        _ => Err(invalid("a frame has an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawner::SpawnError;

    #[tokio::test]
    async fn messages_and_output_come_as_they_were_sent() {
        let mut sent = message(&Event::Started { key: 7, pid: 42 }).unwrap();
        let mut filling = Filling::new(u64::MAX - 1, Stream::Stderr);
        filling.room()[..3].copy_from_slice(b"a\0\xff");
        sent.extend(filling.filled(3).unwrap());
        sent.extend(input(9, b"in").unwrap());
        let mut from = sent.as_slice();
        let first = read::<Event>(&mut from).await.unwrap().unwrap();
        assert!(matches!(first, Frame::Message(Event::Started { key: 7, pid: 42 })));
        let Frame::Output { key, stream, bytes } = read::<Event>(&mut from).await.unwrap().unwrap() else {
            panic!("it is output");
        };
        assert_eq!((key, stream, bytes.as_ref()), (u64::MAX - 1, Stream::Stderr, b"a\0\xff".as_slice()));
        let Frame::Input { key, bytes } = read::<Event>(&mut from).await.unwrap().unwrap() else {
            panic!("it is input");
        };
        assert_eq!((key, bytes.as_ref()), (9, b"in".as_slice()));
        assert!(read::<Event>(&mut from).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_none_is_an_error() {
        for sent in [
            [0, 0, 0, 0].as_slice(),
            &[0xff, 0xff, 0xff, 0xff, 1],
            &[0, 0, 0, 1, 9],
            &[0, 0, 0, 3, 2, 1, 1],
            &[0, 0, 0, 3, 3, 1, 1],
            &[0, 0, 0, 10, 2, 0, 0, 0, 0, 0, 0, 0, 1, 3],
            &[0, 0, 0, 3, 1, b'{', b'}'],
            &[0, 0, 0, 9, 1, b'{'],
        ] {
            let mut from = sent;
            assert!(read::<Event>(&mut from).await.is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_message_beyond_the_bound_is_not_sent() {
        let long = Event::Refused { key: 1, refusal: "x".repeat(FRAME_BYTES_MAX).into() };
        assert!(message(&long).is_err());
    }

    #[test]
    fn a_refusal_is_understood_by_the_release_before_and_by_the_next_one() {
        let refused = |text: &str| match serde_json::from_str(text).unwrap() {
            Event::Refused { key: 7, refusal } => SpawnError::from(refusal),
            other => panic!("{other:?}"),
        };
        let before = refused(r#"{"refused":{"key":7,"reason":"why"}}"#);
        assert!(matches!(before, SpawnError::Refused(reason) if reason == "why"));
        let text = serde_json::to_string(&Event::Refused { key: 7, refusal: Refusal::no_terminal_left() }).unwrap();
        assert!(matches!(refused(&text), SpawnError::NoTerminalLeft));
        let said: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(said["refused"]["reason"].as_str().unwrap().contains("no terminal left"), "{text}");
    }
}
