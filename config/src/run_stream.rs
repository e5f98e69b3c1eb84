//! Stream of a command that runs once: frames with a length, a kind and a body, in both directions of one request.
//!
//! A frame has four bytes of length (big-endian, of the rest), one byte of kind, and the body. The first frame of a
//! client is [`ClientFrame::Begin`]; the last frame of the edge is [`EdgeFrame::Ended`]. Input and output flow by
//! credit: each side sends at most [`WINDOW_BYTES`] beyond the bytes reported by the peer's `Taken`. So a signal never
//! waits behind input unread by the command, nor an end behind unread output; and a client with paused output, as in a
//! pager, still answers.

use serde::{Deserialize, Serialize};

use crate::api::{RunEnd, RunRequest, TerminalSize};

/// Media type of both bodies.
pub const MEDIA_TYPE: &str = "application/vnd.devanture.run";
/// Maximum bytes of a frame after its length.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Maximum bytes of input or output in one frame.
pub const CHUNK_BYTES: usize = 16 * 1024;
/// Maximum bytes of input, or of output, in transit or unread.
pub const WINDOW_BYTES: usize = 256 * 1024;
/// Seconds of silence after which each side sends `Alive`.
pub const ALIVE_S: u64 = 10;
/// Seconds of silence after which the edge considers a client gone.
pub const SILENCE_S_MAX: u64 = 45;

const LENGTH_BYTES: usize = 4;

/// Signal from a client for the command and its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunSignal {
    /// SIGHUP.
    Hangup,
    /// SIGINT, as by Ctrl-C.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
}

impl RunSignal {
    const fn byte(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::Quit => 3,
            Self::Terminate => 15,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hangup),
            2 => Some(Self::Interrupt),
            3 => Some(Self::Quit),
            15 => Some(Self::Terminate),
            _ => None,
        }
    }
}

/// Frame from the client to the edge. The edge reads 1,000 small frames in a second and delays the rest; frames with
/// less than 4 KiB of input, or of taken output, are small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// The command; always the first frame.
    Begin(RunRequest),
    /// Input; empty for the end of input.
    Input(Vec<u8>),
    /// The new size of the terminal.
    Resize(TerminalSize),
    /// A signal for the command. More than 200 signals within a second end the command.
    Signal(RunSignal),
    /// Number of further bytes of output taken.
    Taken(u32),
    /// Sign of life of the client.
    Alive,
}

/// Frame from the edge to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EdgeFrame {
    /// Standard output; all output, if the command has a terminal.
    Stdout(Vec<u8>),
    /// Standard error.
    Stderr(Vec<u8>),
    /// Number of further bytes of input taken.
    Taken(u32),
    /// The end of the command; the last frame.
    Ended(Box<RunEnd>),
    /// Sign of life of the edge.
    Alive,
}

/// Error of an unreadable stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// The length is 0, or beyond [`FRAME_BYTES_MAX`].
    #[error("a frame has {0} bytes, and 1 to {FRAME_BYTES_MAX} are allowed")]
    Length(u32),
    /// The kind is unknown in this direction.
    #[error("a frame has the unknown kind {0}")]
    Kind(u8),
    /// The body does not fit the kind.
    #[error("a frame of the kind {0} has a body that cannot be read")]
    Body(u8),
}

/// Frame of one direction.
pub trait Frame: Sized {
    /// Returns the kind and the body.
    fn parts(&self) -> (u8, Vec<u8>);

    /// Makes the frame of a kind and a body.
    ///
    /// # Errors
    /// [`BadFrame::Kind`], [`BadFrame::Body`].
    fn of_parts(kind: u8, body: &[u8]) -> Result<Self, BadFrame>;

    /// Returns the bytes of the frame.
    ///
    /// # Errors
    /// [`BadFrame::Length`].
    fn bytes(&self) -> Result<Vec<u8>, BadFrame> {
        let (kind, body) = self.parts();
        let length = u32::try_from(body.len().saturating_add(1)).unwrap_or(u32::MAX);
        if usize::try_from(length).is_ok_and(|length| length <= FRAME_BYTES_MAX) {
            let mut bytes = Vec::with_capacity(LENGTH_BYTES + 1 + body.len());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.push(kind);
            bytes.extend_from_slice(&body);
            return Ok(bytes);
        }
        Err(BadFrame::Length(length))
    }
}

const BEGIN: u8 = 1;
const INPUT: u8 = 2;
const RESIZE: u8 = 3;
const SIGNAL: u8 = 4;
const ALIVE: u8 = 5;
const STDOUT: u8 = 17;
const STDERR: u8 = 18;
const TAKEN: u8 = 19;
const ENDED: u8 = 20;

/// Serialization cannot fail: all keys of maps are texts.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn of_json<T: for<'de> Deserialize<'de>>(kind: u8, body: &[u8]) -> Result<T, BadFrame> {
    serde_json::from_slice(body).map_err(|_reason| BadFrame::Body(kind))
}

impl Frame for ClientFrame {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Begin(request) => (BEGIN, json(request)),
            Self::Input(bytes) => (INPUT, bytes.clone()),
            Self::Resize(TerminalSize { rows, columns }) => {
                (RESIZE, [rows.to_be_bytes(), columns.to_be_bytes()].concat())
            }
            Self::Signal(signal) => (SIGNAL, vec![signal.byte()]),
            Self::Taken(count) => (TAKEN, count.to_be_bytes().to_vec()),
            Self::Alive => (ALIVE, Vec::new()),
        }
    }

    fn of_parts(kind: u8, body: &[u8]) -> Result<Self, BadFrame> {
        match (kind, body) {
            (BEGIN, body) => of_json(kind, body).map(Self::Begin),
            (INPUT, bytes) => Ok(Self::Input(bytes.to_vec())),
            (RESIZE, &[a, b, c, d]) => {
                let size = TerminalSize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) };
                Ok(Self::Resize(size))
            }
            (SIGNAL, &[byte]) => RunSignal::of(byte).map(Self::Signal).ok_or(BadFrame::Body(kind)),
            (TAKEN, &[a, b, c, d]) => Ok(Self::Taken(u32::from_be_bytes([a, b, c, d]))),
            (ALIVE, []) => Ok(Self::Alive),
            (RESIZE | SIGNAL | TAKEN | ALIVE, _) => Err(BadFrame::Body(kind)),
            _ => Err(BadFrame::Kind(kind)),
        }
    }
}

impl Frame for EdgeFrame {
    fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Stdout(bytes) => (STDOUT, bytes.clone()),
            Self::Stderr(bytes) => (STDERR, bytes.clone()),
            Self::Taken(count) => (TAKEN, count.to_be_bytes().to_vec()),
            Self::Ended(end) => (ENDED, json(end)),
            Self::Alive => (ALIVE, Vec::new()),
        }
    }

    fn of_parts(kind: u8, body: &[u8]) -> Result<Self, BadFrame> {
        match (kind, body) {
            (STDOUT, bytes) => Ok(Self::Stdout(bytes.to_vec())),
            (STDERR, bytes) => Ok(Self::Stderr(bytes.to_vec())),
            (TAKEN, &[a, b, c, d]) => Ok(Self::Taken(u32::from_be_bytes([a, b, c, d]))),
            (ENDED, body) => of_json(kind, body).map(|end| Self::Ended(Box::new(end))),
            (ALIVE, []) => Ok(Self::Alive),
            (TAKEN | ALIVE, _) => Err(BadFrame::Body(kind)),
            _ => Err(BadFrame::Kind(kind)),
        }
    }
}

/// Incremental reader of a stream, for pieces of any length. Beside the last pushed piece, the reader holds at most one
/// unfinished frame.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    /// Consumed bytes of the buffer.
    taken: usize,
}

impl Reader {
    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next complete frame.
    ///
    /// # Errors
    /// [`BadFrame`]; the stream is unreadable from then on.
    pub fn next_frame<F: Frame>(&mut self) -> Result<Option<F>, BadFrame> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        let count = usize::try_from(length).unwrap_or(usize::MAX);
        if count == 0 || count > FRAME_BYTES_MAX {
            return Err(BadFrame::Length(length));
        }
        let Some((kind, body)) = rest.get(..count).and_then(<[u8]>::split_first) else { return Ok(None) };
        let frame = F::of_parts(*kind, body)?;
        self.taken = self.taken.saturating_add(LENGTH_BYTES).saturating_add(count);
        Ok(Some(frame))
    }

    /// Returns true if the stream ended at the end of a frame.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.buffer.len() == self.taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::VersionId;
    use crate::api::RunExit;

    fn client_frames() -> impl Strategy<Value = ClientFrame> {
        let size = || (any::<u16>(), any::<u16>()).prop_map(|(rows, columns)| TerminalSize { rows, columns });
        let begin = (prop::collection::vec("\\PC{0,20}", 1..5), prop::option::of(size()), any::<Option<u64>>());
        prop_oneof![
            begin.prop_map(|(command, terminal, timeout_ms)| {
                ClientFrame::Begin(RunRequest { command, terminal, term: None, timeout_ms })
            }),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(ClientFrame::Input),
            size().prop_map(ClientFrame::Resize),
            prop::sample::select(vec![RunSignal::Hangup, RunSignal::Interrupt, RunSignal::Quit, RunSignal::Terminate,])
                .prop_map(ClientFrame::Signal),
            any::<u32>().prop_map(ClientFrame::Taken),
            Just(ClientFrame::Alive),
        ]
    }

    fn edge_frames() -> impl Strategy<Value = EdgeFrame> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            bytes().prop_map(EdgeFrame::Stdout),
            bytes().prop_map(EdgeFrame::Stderr),
            any::<u32>().prop_map(EdgeFrame::Taken),
            (any::<i32>(), any::<u64>()).prop_map(|(code, ms)| {
                let (exit, version) = (RunExit::Code(code), VersionId::of(b""));
                EdgeFrame::Ended(Box::new(RunEnd { exit, ms, version }))
            }),
            Just(EdgeFrame::Alive),
        ]
    }

    fn read<F: Frame>(bytes: &[u8], piece: usize) -> Result<Vec<F>, BadFrame> {
        let (mut reader, mut frames) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while let Some(frame) = reader.next_frame()? {
                frames.push(frame);
            }
        }
        assert!(reader.is_at_end());
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_as_they_were_sent_whatever_the_pieces(
            of_client in prop::collection::vec(client_frames(), 0..6),
            of_edge in prop::collection::vec(edge_frames(), 0..6),
            piece in 1_usize..50,
        ) {
            let bytes: Vec<u8> = of_client.iter().flat_map(|frame| frame.bytes().unwrap()).collect();
            prop_assert_eq!(read::<ClientFrame>(&bytes, piece).unwrap(), of_client);
            let bytes: Vec<u8> = of_edge.iter().flat_map(|frame| frame.bytes().unwrap()).collect();
            prop_assert_eq!(read::<EdgeFrame>(&bytes, piece).unwrap(), of_edge);
        }
    }

    #[test]
    fn a_frame_that_is_none_ends_the_stream() {
        for (bytes, error) in [
            (&[0, 0, 0, 0][..], BadFrame::Length(0)),
            (&[0xff, 0xff, 0xff, 0xff, 1], BadFrame::Length(u32::MAX)),
            (&[0, 0, 0, 1, 99], BadFrame::Kind(99)),
            (&[0, 0, 0, 2, 4, 9], BadFrame::Body(4)),
            (&[0, 0, 0, 2, 3, 9], BadFrame::Body(3)),
            (&[0, 0, 0, 3, 1, b'{', b'}'], BadFrame::Body(1)),
        ] {
            let mut reader = Reader::default();
            reader.push(bytes);
            assert_eq!(reader.next_frame::<ClientFrame>(), Err(error), "{bytes:?}");
        }
        let long = ClientFrame::Input(vec![0; FRAME_BYTES_MAX]);
        assert!(matches!(long.bytes(), Err(BadFrame::Length(_))));
    }
}
