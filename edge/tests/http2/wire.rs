//! Frames as bytes, and a TLS connection that sends and receives frames without validation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::http2::fields::{Decoder, Field, block};
use crate::http2::table::{Code, NO_ERROR, Outcome, STREAM_CLOSED};

/// Client connection preface (RFC 9113 section 3.4).
pub(crate) const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Host of most requests.
pub(crate) const HOST: &str = "shop.localhost";
/// Longer than any response takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Frame types (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
    /// Complete head without a body.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Identifiers of settings (RFC 9113 section 6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Frame with arbitrary parts.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields of a request. A field in `more` replaces a default field of the same name; other fields are appended.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)];
    block(fields.iter().chain(more).copied())
}

/// Bytes to send, built frame by frame.
#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    /// Watched stream: the last named by [`Self::watch`], by default the last stream opened.
    watched: u32,
    is_chosen: bool,
}

impl Script {
    pub(crate) fn watched(&self) -> u32 {
        self.watched
    }

    /// Selects the stream of the verdict.
    pub(crate) fn watch(mut self, stream: u32) -> Self {
        (self.watched, self.is_chosen) = (stream, true);
        self
    }

    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    pub(crate) fn frame(self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Self {
        self.raw(frame(kind, flags, stream, payload))
    }

    pub(crate) fn headers(mut self, stream: u32, flags: u8, block: impl AsRef<[u8]>) -> Self {
        if !self.is_chosen {
            self.watched = stream;
        }
        self.frame(kind::HEADERS, flags, stream, block)
    }

    /// GET request for the front page.
    pub(crate) fn get(self, stream: u32) -> Self {
        self.headers(stream, flag::WHOLE, request("GET", "/", &[]))
    }

    /// GET request for the front page with additional fields.
    pub(crate) fn get_with(self, stream: u32, more: &[(&str, &str)]) -> Self {
        self.headers(stream, flag::WHOLE, request("GET", "/", more))
    }

    /// GET request with exactly the given fields.
    pub(crate) fn exactly(self, stream: u32, fields: &[(&str, &str)]) -> Self {
        self.headers(stream, flag::WHOLE, block(fields.iter().copied()))
    }

    /// GET request whose response body is blocked: the stream stays half-closed (remote).
    pub(crate) fn held(self, stream: u32) -> Self {
        self.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]).headers(
            stream,
            flag::WHOLE,
            request("GET", "/big.bin", &[]),
        )
    }

    /// Head of a POST request to the echo backend: the stream stays open.
    pub(crate) fn open(self, stream: u32) -> Self {
        self.open_with(stream, &[])
    }

    pub(crate) fn open_with(self, stream: u32, more: &[(&str, &str)]) -> Self {
        self.headers(stream, flag::END_HEADERS, request("POST", "/api/echo", more))
    }

    pub(crate) fn data(self, stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Self {
        self.frame(kind::DATA, flags, stream, payload)
    }

    pub(crate) fn continuation(self, stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Self {
        self.frame(kind::CONTINUATION, flags, stream, payload)
    }

    pub(crate) fn settings(self, settings: &[(u16, u32)]) -> Self {
        let payload = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        self.frame(kind::SETTINGS, flag::NONE, 0, payload.collect::<Vec<u8>>())
    }

    pub(crate) fn ping(self, payload: [u8; 8]) -> Self {
        self.frame(kind::PING, flag::NONE, 0, payload)
    }

    pub(crate) fn reset(self, stream: u32, code: u32) -> Self {
        self.frame(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes())
    }

    pub(crate) fn window(self, stream: u32, increment: u32) -> Self {
        self.frame(kind::WINDOW_UPDATE, flag::NONE, stream, increment.to_be_bytes())
    }
}

/// Received frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// Fields of HEADERS, including CONTINUATION frames.
    pub(crate) fields: Vec<Field>,
}

impl Frame {
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }

    /// Number of 32 bits in the payload.
    pub(crate) fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// Header field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn status(&self) -> u16 {
        self.field(":status").expect("a status").parse().unwrap()
    }

    fn text(&self) -> String {
        let Self { kind, flags, stream, payload, fields } = self;
        match *kind {
            kind::HEADERS => format!("HEADERS {stream} flags {flags} {fields:?}"),
            kind::DATA => format!("DATA {stream} flags {flags} of {} bytes", payload.len()),
            kind => format!("type {kind} stream {stream} flags {flags} {payload:x?}"),
        }
    }
}

/// Log of the frames on a connection, for failure messages.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// Received response parts of one request.
#[derive(Debug, Default, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Vec<Field>,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    is_whole: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.head.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

/// Connection.
pub(crate) struct Conn {
    io: TlsStream<TcpStream>,
    unread: BytesMut,
    pub(crate) decoder: Decoder,
    answers: BTreeMap<u32, Answer>,
    pub(crate) seen: Seen,
}

impl Conn {
    pub(crate) fn over(io: TlsStream<TcpStream>) -> Self {
        let (decoder, answers) = (Decoder::default(), BTreeMap::new());
        Self { io, unread: BytesMut::new(), decoder, answers, seen: Seen::default() }
    }

    fn saw(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }

    /// TLS state.
    pub(crate) fn session(&self) -> &rustls::ClientConnection {
        self.io.get_ref().1
    }

    /// Sends bytes. Ignores errors: a closed connection is detected by reading.
    pub(crate) async fn send(&mut self, script: &Script) {
        let sent = timeout(PATIENCE, self.io.write_all(&script.bytes)).await.expect("the edge takes the bytes");
        if sent.is_ok() {
            timeout(PATIENCE, self.io.flush()).await.expect("the edge takes the bytes").ok();
        }
    }

    /// Like [`Self::send`], but returns the error of a closed connection.
    pub(crate) async fn try_send(&mut self, script: &Script) -> io::Result<()> {
        self.io.write_all(&script.bytes).await?;
        self.io.flush().await
    }

    /// Sends the bytes repeatedly without reading; the edge must close before it has accepted much.
    pub(crate) async fn floods_until_closed(&mut self, script: &Script) -> Outcome {
        // More than the system buffers for both ends, and far more than the edge may buffer.
        const BYTES_MAX: usize = 64 * 1024 * 1024;
        let flood = async {
            for _ in 0..BYTES_MAX / script.bytes.len() {
                if self.try_send(script).await.is_err() {
                    return;
                }
            }
            panic!("it took everything");
        };
        timeout(PATIENCE * 2, flood).await.expect("the edge closes a connection that takes no answers");
        Outcome::Holds
    }

    /// Sends bytes while buffering received frames; returns once all bytes are sent, or the edge has closed.
    pub(crate) async fn pour(&mut self, bytes: &[u8]) {
        let (mut from, mut to) = tokio::io::split(&mut self.io);
        let sending = async {
            if to.write_all(bytes).await.is_ok() {
                to.flush().await.ok();
            }
        };
        let taking = async { while matches!(from.read_buf(&mut self.unread).await, Ok(1..)) {} };
        let poured = async {
            tokio::select! { () = sending => (), () = taking => () }
        };
        timeout(PATIENCE * 6, poured).await.expect("the edge takes the bytes, or closes");
    }

    /// Sends each byte in a separate TLS record.
    pub(crate) async fn drip(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.try_send(&Script::default().raw([*byte])).await.is_err() {
                return;
            }
        }
    }

    /// Sends an HTTP/1.1 request as text, and reads until the edge closes.
    pub(crate) async fn text_for(&mut self, request: &str) -> String {
        self.send(&Script::default().raw(request)).await;
        let mut text = Vec::new();
        // The content length determines completeness, not the end of the connection.
        timeout(PATIENCE, self.io.read_to_end(&mut text)).await.expect("the edge closes").ok();
        String::from_utf8(text).unwrap()
    }

    /// Reads the head of an HTTP/1.1 response as text; body bytes are dropped.
    pub(crate) async fn head_of_text(&mut self) -> String {
        let end = |read: &[u8]| read.windows(4).position(|four| four == b"\r\n\r\n");
        while end(&self.unread).is_none() {
            let read = timeout(PATIENCE, self.io.read_buf(&mut self.unread)).await.expect("a head").unwrap();
            assert!(read > 0, "it closed instead: {:?}", self.unread);
        }
        let head = self.unread.split_to(end(&self.unread).unwrap());
        self.unread.clear();
        String::from_utf8(head.to_vec()).unwrap()
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.unread).to_vec();
        // A reset counts as the end, too.
        timeout(PATIENCE * 6, self.io.read_to_end(&mut all)).await.expect("the edge closes").ok();
        all
    }

    /// Ends the client's side.
    pub(crate) async fn finish(&mut self) {
        self.io.shutdown().await.ok();
    }

    /// Next frame; `None` once the edge has closed. HEADERS include their CONTINUATION frames.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut frame = self.next_frame().await?;
        if frame.kind == kind::HEADERS {
            let mut block = std::mem::take(&mut frame.payload);
            assert_eq!(frame.flags & (flag::PADDED | flag::PRIORITY), 0, "the edge sends neither");
            while frame.flags & flag::END_HEADERS == 0 {
                let more = self.next_frame().await.expect("the rest of the head");
                assert_eq!((more.kind, more.stream), (kind::CONTINUATION, frame.stream), "RFC 9113 section 6.10");
                block.extend_from_slice(&more.payload);
                frame.flags |= more.flags & flag::END_HEADERS;
            }
            frame.fields = self.decoder.decode(&block);
            check_fields(&frame.fields);
        }
        self.saw(frame.text());
        Some(frame)
    }

    async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((head, rest)) = self.unread.split_at_checked(9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if rest.len() >= length {
                    let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                    assert_eq!(stream >> 31, 0, "the reserved bit is sent unset (RFC 9113 section 4.1)");
                    let (kind, flags, payload) = (head[3], head[4], rest[..length].to_vec());
                    self.unread.advance(9 + length);
                    return Some(Frame { kind, flags, stream, payload, fields: Vec::new() });
                }
            }
            let read = timeout(PATIENCE, self.io.read_buf(&mut self.unread));
            match read.await {
                Err(_) => panic!("nothing more came; until then: {:#?}", self.seen),
                Ok(Ok(count)) if count > 0 => {}
                // A reset after the last bytes counts as the end, too.
                Ok(_) => {
                    self.saw("closed".to_owned());
                    return None;
                }
            }
        }
    }

    /// Next frame other than SETTINGS, WINDOW_UPDATE and PING.
    pub(crate) async fn next_of_stream(&mut self) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if !matches!(frame.kind, kind::SETTINGS | kind::WINDOW_UPDATE | kind::PING) {
                return Some(frame);
            }
        }
    }

    /// Next frame of one type; fails for another frame, except SETTINGS, WINDOW_UPDATE and PING.
    pub(crate) async fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed; until then: {:#?}", self.seen));
            if frame.kind == kind {
                return frame;
            }
            let is_aside = matches!(frame.kind, kind::SETTINGS | kind::WINDOW_UPDATE | kind::PING);
            assert!(is_aside, "type {kind} was expected: {:#?}", self.seen);
        }
    }

    /// Sends a PING and reads to the answer: all earlier bytes are processed then. Responses completed meanwhile are
    /// stored for [`Self::answer`].
    pub(crate) async fn fence(&mut self) {
        let payload = *b"a fence!";
        self.send(&Script::default().ping(payload)).await;
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed; until then: {:#?}", self.seen));
            assert_ne!(frame.kind, kind::GOAWAY, "the connection does not go on: {:#?}", self.seen);
            if frame.kind == kind::PING && frame.payload == payload {
                assert_eq!(frame.flags, flag::ACK);
                return;
            }
            self.collect(&frame);
        }
    }

    /// Adds a frame to a response; returns true once the response is complete.
    pub(crate) fn collect(&mut self, frame: &Frame) -> bool {
        let answer = self.answers.entry(frame.stream).or_default();
        match frame.kind {
            kind::HEADERS if answer.status < 200 => {
                (answer.status, answer.head) = (frame.status(), frame.fields.clone());
            }
            kind::DATA => {
                let payload = &frame.payload;
                assert_eq!(frame.flags & flag::PADDED, 0, "the edge does not pad");
                answer.body.extend_from_slice(payload);
            }
            _ => {}
        }
        answer.is_whole |= frame.ends_stream();
        frame.ends_stream()
    }

    /// Number of `streams` without a complete response.
    pub(crate) fn unanswered(&self, streams: impl Iterator<Item = u32>) -> usize {
        streams.filter(|stream| !self.answers.get(stream).is_some_and(|answer| answer.is_whole)).count()
    }

    /// Response parts received for a stream so far.
    pub(crate) fn so_far(&self, stream: u32) -> Answer {
        self.answers.get(&stream).cloned().unwrap_or_default()
    }

    /// Reads until the response on `stream` is complete.
    pub(crate) async fn answer(&mut self, stream: u32) -> Answer {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("closed; until then: {:#?}", self.seen));
            // An earlier stream may be reset without an error after the response, or closed.
            let is_over = frame.kind == kind::RST_STREAM
                && (frame.stream == stream || ![NO_ERROR, STREAM_CLOSED].contains(&Code(frame.number(0))));
            assert!(frame.kind != kind::GOAWAY && !is_over, "{:#?}", self.seen);
            if self.collect(&frame) && frame.stream == stream {
                return self.so_far(stream);
            }
        }
    }
}

/// Checks that a response head is well-formed (RFC 9113 sections 8.2 and 8.3.2).
fn check_fields(fields: &[Field]) {
    let is_pseudo = |field: &&Field| field.0.starts_with(':');
    let pseudo: Vec<&str> = fields.iter().filter(is_pseudo).map(|(name, _)| name.as_str()).collect();
    assert!(pseudo.is_empty() || pseudo == [":status"], "{fields:?}");
    assert!(fields.iter().take_while(is_pseudo).count() == pseudo.len(), "pseudo fields come first: {fields:?}");
    for (name, value) in fields {
        assert!(
            !name.is_empty() && name.bytes().all(|b| (0x21..0x7f).contains(&b) && !b.is_ascii_uppercase()),
            "{name}"
        );
        assert!(!value.starts_with([' ', '\t']) && !value.ends_with([' ', '\t']), "{name}: {value:?}");
        assert!(!value.bytes().any(|b| matches!(b, 0 | b'\r' | b'\n')), "{name}: {value:?}");
        let of_connection = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"]
            .contains(&name.as_str());
        assert!(!of_connection, "{name} has no place in HTTP/2 (RFC 9113 section 8.2.2)");
    }
}
