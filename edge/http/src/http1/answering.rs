//! Output of one HTTP/1.1 answer, piece by piece.

use std::io::Write as _;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Empty;

use crate::answer::{Answer, AnswerBody, AnswerHead};
use crate::sink::Sink;
use crate::under_way::{UnderWay, is_event_stream};
use crate::{Outcome, StreamBody, Turn, stream_body};

/// The form of an answer, by its request and its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerForm {
    /// The client speaks HTTP/1.0, which has no chunks.
    pub(super) is_http10: bool,
    /// The connection ends with it (RFC 9112 §9.6).
    pub(super) is_last: bool,
    /// The client takes trailers behind the last chunk (RFC 9112 §7.1.2).
    pub(super) takes_trailers: bool,
}

impl AnswerForm {
    /// The same for a body of that framing, which may need the end of the connection.
    const fn framed_by(self, framing: Framing) -> Self {
        Self { is_last: self.is_last || matches!(framing, Framing::UntilClose), ..self }
    }

    /// The field that says whether the connection goes on, where that has to be said: a client of HTTP/1.0 takes one
    /// for closed that is not confirmed (RFC 9112 §9.3).
    const fn line(self) -> &'static [u8] {
        match self {
            Self { is_last: true, .. } => b"connection: close\r\n",
            Self { is_http10: true, .. } => b"connection: keep-alive\r\n",
            Self { .. } => b"",
        }
    }
}

/// An answer that is being put.
pub(super) struct CurrentAnswer<O> {
    status: StatusCode,
    manner: AnswerForm,
    /// The fields, until they are put.
    head: Option<AnswerHead>,
    framing: Framing,
    body: Rest,
    /// Outcome; `None` for an awaited response, which counts its own bytes.
    outcome: Option<O>,
    is_event_stream: bool,
}

/// Framing of a body without a length among the fields (RFC 9112 §6).
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// The fields contain the framing.
    Prepared,
    /// The body has a known length.
    Length(u64),
    /// The body is chunked.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// Remaining body to write.
enum Rest {
    /// No body.
    None,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Remaining length of a polled body, after the bytes in memory.
    Stream(StreamBody, u64, Bytes),
    /// Polled body of unknown length, sent in chunks (RFC 9112 §7.1).
    Chunks(StreamBody),
    /// As many as come, up to the end of the connection (RFC 9112 §6.3), after those that are at hand.
    UntilClose(StreamBody, Bytes),
    /// Another length than the head announces.
    Unsound,
}

/// Progress of writing an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// The answer is completely written.
    All,
    /// More is to be written, later.
    Some,
    /// The body ended before the announced length.
    Broken,
}

impl<O: Outcome> CurrentAnswer<O> {
    /// Begins with an answer to a request of `method`.
    pub(super) fn new(answer: Answer<O>, method: &Method, manner: AnswerForm) -> Self {
        let Answer { status, head, body, outcome } = answer;
        let has_body = method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (framing, body) = match body {
            _ if !has_body => (Framing::Prepared, Rest::None),
            body if !body.fits(&head) => (Framing::Prepared, Rest::Unsound),
            AnswerBody::Bytes(bytes) if bytes.is_empty() => (unless_said(&head, 0), Rest::None),
            AnswerBody::Bytes(bytes) => (unless_said(&head, bytes.len()), Rest::Bytes(bytes)),
            AnswerBody::Stream(stream) => streamed(&head, stream, manner),
        };
        let manner = manner.framed_by(framing);
        Self { status, manner, head: Some(head), framing, body, outcome: Some(outcome), is_event_stream: false }
    }

    /// Begins with the response to a request of `method` that was awaited. `None` if it is an interim one, which ends
    /// no request (RFC 9110 §15.2); 101 does, where the request `may_switch`.
    pub(super) fn of_response(
        response: Response<StreamBody>,
        method: &Method,
        manner: AnswerForm,
        may_switch: bool,
    ) -> Option<Self> {
        let (mut parts, stream) = response.into_parts();
        let switches = may_switch && parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if parts.status.is_informational() && !switches {
            return None;
        }
        if !switches && !manner.line().is_empty() {
            // It is said below.
            parts.headers.remove(CONNECTION);
        }
        let is_bare = switches || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if switches || parts.status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6.
            parts.headers.remove(CONTENT_LENGTH);
        }
        let is_event_stream = stream.size_hint().exact().is_none() && is_event_stream(&parts.headers);
        let head = AnswerHead::Map(Box::new(parts.headers));
        let (framing, body) = match is_bare || method == Method::HEAD {
            true => (Framing::Prepared, Rest::None),
            false => streamed(&head, stream, manner),
        };
        let manner = manner.framed_by(framing);
        Some(Self { status: parts.status, manner, head: Some(head), framing, body, outcome: None, is_event_stream })
    }

    /// Begins with the answer to a request that is refused as it stands, after which the connection ends.
    pub(super) fn refusal(status: StatusCode) -> Option<Self> {
        let mut response = Response::new(stream_body(Empty::<Bytes>::new()));
        *response.status_mut() = status;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self::of_response(
            response,
            &Method::GET,
            AnswerForm { is_http10: false, is_last: true, takes_trailers: false },
            false,
        )
    }

    /// Whether the connection ends with it.
    pub(super) const fn is_last(&self) -> bool {
        self.manner.is_last
    }

    pub(super) const fn under_way(&self) -> UnderWay {
        if self.is_event_stream { UnderWay::EventStream } else { UnderWay::Download }
    }

    /// Ends a body of unknown length at the current byte.
    pub(super) fn end_here(&mut self) {
        if let Rest::Chunks(stream) | Rest::UntilClose(stream, _) = &mut self.body {
            *stream = stream_body(Empty::new());
        }
    }

    /// Returns true if the connection switches protocols after the response.
    pub(super) fn switches(&self) -> bool {
        self.status == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Returns true if no byte was written.
    pub(super) const fn is_whole(&self) -> bool {
        self.head.is_some()
    }

    /// Writes as much as the sink has room for.
    pub(super) fn put(&mut self, sink: &mut impl Sink, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Put {
        if matches!(self.body, Rest::Unsound) {
            tracing::error!("a body has another length than its head announces");
            return Put::Broken;
        }
        if sink.room() == 0 {
            return Put::Some;
        }
        if let Some(head) = self.head.take() {
            self.put_head(&head, sink, turn);
        }
        let put = match &mut self.body {
            Rest::None => Put::All,
            Rest::Unsound => Put::Broken,
            Rest::Bytes(bytes) => {
                put_bytes(bytes, sink, &mut self.outcome);
                if bytes.is_empty() { Put::All } else { Put::Some }
            }
            Rest::Stream(stream, left, at_hand) => put_stream(stream, left, at_hand, sink, &mut self.outcome, cx),
            Rest::Chunks(stream) => put_chunks(stream, self.manner, sink, &mut self.outcome, cx),
            Rest::UntilClose(stream, at_hand) => put_until_close(stream, at_hand, sink, &mut self.outcome, cx),
        };
        if put == Put::All {
            self.body = Rest::None;
            if let Some(outcome) = &mut self.outcome {
                outcome.complete(turn.now);
            }
        }
        put
    }

    /// Returns the body bytes held for the peer.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.body {
            Rest::Stream(stream, _, at_hand) | Rest::UntilClose(stream, at_hand) => {
                stream.held_bytes() + if stream.is_shared() { 0 } else { at_hand.len() }
            }
            Rest::Chunks(stream) => stream.held_bytes(),
            Rest::Bytes(bytes) if self.outcome.as_ref().is_some_and(Outcome::pins_body) => bytes.len(),
            Rest::None | Rest::Bytes(_) | Rest::Unsound => 0,
        }
    }

    fn put_head(&self, head: &AnswerHead, sink: &mut impl Sink, turn: &mut Turn<'_>) {
        let block = &mut turn.scratch.block;
        block.clear();
        block.extend_from_slice(if self.manner.is_http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        block.extend_from_slice(self.status.as_str().as_bytes());
        block.push(b' ');
        block.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes());
        block.extend_from_slice(b"\r\n");
        let mut is_dated = false;
        match head {
            AnswerHead::Prepared(head, more) => {
                for lines in head.lines() {
                    block.extend_from_slice(lines);
                }
                for field in more.iter().flatten() {
                    block.extend_from_slice(&field.line);
                }
            }
            AnswerHead::Map(map) => {
                is_dated = map.contains_key(DATE);
                for (name, value) in &**map {
                    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                        block.extend_from_slice(part);
                    }
                }
            }
        }
        if !is_dated {
            block.extend_from_slice(&turn.date.line);
        }
        if !self.switches() {
            block.extend_from_slice(self.manner.line());
        }
        match self.framing {
            Framing::Prepared | Framing::UntilClose => {}
            // A vector takes all that is written to it.
            Framing::Length(length) => drop(write!(block, "content-length: {length}\r\n")),
            Framing::Chunked => block.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        block.extend_from_slice(b"\r\n");
        sink.put(block);
    }
}

/// The framing of a body that is read as it is put, and its rest.
fn streamed(head: &AnswerHead, stream: StreamBody, manner: AnswerForm) -> (Framing, Rest) {
    match (head.content_length(), stream.size_hint().exact()) {
        (Some(length), _) => (Framing::Prepared, Rest::Stream(stream, length, Bytes::new())),
        (None, Some(length)) => (Framing::Length(length), Rest::Stream(stream, length, Bytes::new())),
        (None, None) if manner.is_http10 => (Framing::UntilClose, Rest::UntilClose(stream, Bytes::new())),
        (None, None) => (Framing::Chunked, Rest::Chunks(stream)),
    }
}

/// The field to add about the length, where the head has none.
fn unless_said(head: &AnswerHead, length: usize) -> Framing {
    match head.content_length() {
        None => Framing::Length(u64::try_from(length).unwrap_or(u64::MAX)),
        Some(_) => Framing::Prepared,
    }
}

fn put_bytes(bytes: &mut Bytes, sink: &mut impl Sink, outcome: &mut Option<impl Outcome>) {
    let count = sink.room().min(bytes.len());
    if count > 0 {
        sink.put_body(bytes.split_to(count));
        count_sent(outcome, count);
    }
}

fn count_sent(outcome: &mut Option<impl Outcome>, bytes: usize) {
    if let Some(outcome) = outcome {
        outcome.sent(bytes);
    }
}

fn put_stream(
    stream: &mut StreamBody,
    left: &mut u64,
    at_hand: &mut Bytes,
    sink: &mut impl Sink,
    outcome: &mut Option<impl Outcome>,
    cx: &mut Context<'_>,
) -> Put {
    loop {
        put_bytes(at_hand, sink, outcome);
        if !at_hand.is_empty() {
            return Put::Some;
        }
        if *left == 0 && stream.is_end_stream() {
            return Put::All;
        }
        if sink.room() == 0 {
            return Put::Some;
        }
        match poll_piece(stream, sink.room(), cx) {
            Poll::Pending => return Put::Some,
            Poll::Ready(Piece::Bytes(bytes)) => match left.checked_sub(bytes.len().try_into().unwrap_or(u64::MAX)) {
                Some(rest) => (*left, *at_hand) = (rest, bytes),
                None => return Put::Broken,
            },
            Poll::Ready(Piece::End(_)) if *left == 0 => return Put::All,
            Poll::Ready(_) => return Put::Broken,
        }
    }
}

fn put_chunks(
    stream: &mut StreamBody,
    manner: AnswerForm,
    sink: &mut impl Sink,
    outcome: &mut Option<impl Outcome>,
    cx: &mut Context<'_>,
) -> Put {
    while sink.room() > 0 {
        match poll_piece(stream, sink.room(), cx) {
            Poll::Pending => return Put::Some,
            // An empty chunk would be the last.
            Poll::Ready(Piece::Bytes(bytes)) if bytes.is_empty() => {}
            Poll::Ready(Piece::Bytes(bytes)) => {
                let count = bytes.len();
                sink.put(format!("{count:x}\r\n").as_bytes());
                sink.put_body(bytes);
                sink.put(b"\r\n");
                count_sent(outcome, count);
            }
            Poll::Ready(Piece::Broken) => return Put::Broken,
            Poll::Ready(Piece::End(trailers)) => {
                sink.put(b"0\r\n");
                for (name, value) in trailers.iter().flatten().filter(|_| manner.takes_trailers) {
                    sink.put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
                }
                sink.put(b"\r\n");
                return Put::All;
            }
        }
    }
    Put::Some
}

fn put_until_close(
    stream: &mut StreamBody,
    at_hand: &mut Bytes,
    sink: &mut impl Sink,
    outcome: &mut Option<impl Outcome>,
    cx: &mut Context<'_>,
) -> Put {
    loop {
        put_bytes(at_hand, sink, outcome);
        if !at_hand.is_empty() || sink.room() == 0 {
            return Put::Some;
        }
        match poll_piece(stream, sink.room(), cx) {
            Poll::Pending => return Put::Some,
            Poll::Ready(Piece::Bytes(bytes)) => *at_hand = bytes,
            Poll::Ready(Piece::Broken) => return Put::Broken,
            Poll::Ready(Piece::End(_)) => return Put::All,
        }
    }
}

/// What comes next of a body.
enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// It broke off.
    Broken,
    /// Its end, with its trailers.
    End(Option<HeaderMap>),
}

/// The next piece of a body, of which no more is read than there is `room` for.
fn poll_piece(stream: &mut StreamBody, room: usize, cx: &mut Context<'_>) -> Poll<Piece> {
    loop {
        return Poll::Ready(match ready!(stream.as_mut().poll_some(room, cx)) {
            None => Piece::End(None),
            Some(Err(error)) => {
                tracing::debug!(%error, "the body of an answer broke off");
                Piece::Broken
            }
            Some(Ok(frame)) => match frame.into_data().map_err(http_body::Frame::into_trailers) {
                Ok(bytes) => Piece::Bytes(bytes),
                Err(Ok(trailers)) => Piece::End(Some(trailers)),
                // Of another kind, which means nothing here.
                Err(Err(_)) => continue,
            },
        });
    }
}
