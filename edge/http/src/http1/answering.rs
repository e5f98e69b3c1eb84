//! Output of one HTTP/1.1 answer, piece by piece.

use std::io::Write as _;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use http_body_util::Empty;

use crate::answer::{Answer, AnswerBody, AnswerHead};
use crate::sink::Sink;
use crate::under_way::{UnderWay, is_event_stream};
use crate::{Outcome, StreamBody, Turn, stream_body};

/// Answer being written.
pub(super) struct Current<O> {
    status: StatusCode,
    /// Fields until written.
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
    /// The length contradicts the head.
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

impl<O: Outcome> Current<O> {
    /// Begins an answer to a request with `method`.
    pub(super) fn new(answer: Answer<O>, method: &Method) -> Self {
        let Answer { status, head, body, outcome } = answer;
        let has_body = method != Method::HEAD && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (framing, body) = match body {
            _ if !has_body => (Framing::Prepared, Rest::None),
            body if !body.fits(&head) => (Framing::Prepared, Rest::Unsound),
            AnswerBody::Bytes(bytes) if bytes.is_empty() => (unless_said(&head, 0), Rest::None),
            AnswerBody::Bytes(bytes) => (unless_said(&head, bytes.len()), Rest::Bytes(bytes)),
            AnswerBody::Stream(stream) => match (head.content_length(), stream.size_hint().exact()) {
                (Some(length), _) => (Framing::Prepared, Rest::Stream(stream, length, Bytes::new())),
                (None, Some(length)) => (Framing::Length(length), Rest::Stream(stream, length, Bytes::new())),
                (None, None) => (Framing::Chunked, Rest::Chunks(stream)),
            },
        };
        Self { status, head: Some(head), framing, body, outcome: Some(outcome), is_event_stream: false }
    }

    /// Begins the awaited response to a request with `method`; `is_last` announces the end of the connection (RFC 9112
    /// §9.6). `None` for an interim response, which ends no request (RFC 9110 §15.2); status 101 does end the request
    /// if the request `may_switch`.
    pub(super) fn of_response(
        response: Response<StreamBody>,
        method: &Method,
        is_last: bool,
        may_switch: bool,
    ) -> Option<Self> {
        let (mut parts, stream) = response.into_parts();
        let switches = may_switch && parts.status == StatusCode::SWITCHING_PROTOCOLS;
        if parts.status.is_informational() && !switches {
            return None;
        }
        if is_last && !switches {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let is_bare = switches || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if switches || parts.status == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6.
            parts.headers.remove(CONTENT_LENGTH);
        }
        let is_event_stream = stream.size_hint().exact().is_none() && is_event_stream(&parts.headers);
        let head = AnswerHead::Map(Box::new(parts.headers));
        let (framing, body) = if is_bare || method == Method::HEAD {
            (Framing::Prepared, Rest::None)
        } else {
            match (head.content_length(), stream.size_hint().exact()) {
                (Some(length), _) => (Framing::Prepared, Rest::Stream(stream, length, Bytes::new())),
                (None, Some(length)) => (Framing::Length(length), Rest::Stream(stream, length, Bytes::new())),
                (None, None) => (Framing::Chunked, Rest::Chunks(stream)),
            }
        };
        Some(Self { status: parts.status, head: Some(head), framing, body, outcome: None, is_event_stream })
    }

    pub(super) const fn under_way(&self) -> UnderWay {
        if self.is_event_stream { UnderWay::EventStream } else { UnderWay::Download }
    }

    /// Ends a body of unknown length at the current byte.
    pub(super) fn end_here(&mut self) {
        if let Rest::Chunks(stream) = &mut self.body {
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
            Rest::Chunks(stream) => put_chunks(stream, sink, &mut self.outcome, cx),
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
            Rest::Stream(stream, _, at_hand) => {
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
        block.extend_from_slice(b"HTTP/1.1 ");
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
        match self.framing {
            Framing::Prepared => {}
            // Writing to a vector cannot fail.
            Framing::Length(length) => drop(write!(block, "content-length: {length}\r\n")),
            Framing::Chunked => block.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        block.extend_from_slice(b"\r\n");
        sink.put(block);
    }
}

/// Returns the length field to add if the head has none.
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
        match poll_bytes(stream, sink.room(), cx) {
            Poll::Pending => return Put::Some,
            Poll::Ready(Some(Some(bytes))) => match left.checked_sub(bytes.len().try_into().unwrap_or(u64::MAX)) {
                Some(rest) => (*left, *at_hand) = (rest, bytes),
                None => return Put::Broken,
            },
            Poll::Ready(None) if *left == 0 => return Put::All,
            Poll::Ready(_) => return Put::Broken,
        }
    }
}

fn put_chunks(
    stream: &mut StreamBody,
    sink: &mut impl Sink,
    outcome: &mut Option<impl Outcome>,
    cx: &mut Context<'_>,
) -> Put {
    while sink.room() > 0 {
        match poll_bytes(stream, sink.room(), cx) {
            Poll::Pending => return Put::Some,
            // An empty chunk would end the body.
            Poll::Ready(Some(Some(bytes))) if bytes.is_empty() => {}
            Poll::Ready(Some(Some(bytes))) => {
                let count = bytes.len();
                sink.put(format!("{count:x}\r\n").as_bytes());
                sink.put_body(bytes);
                sink.put(b"\r\n");
                count_sent(outcome, count);
            }
            Poll::Ready(Some(None)) => return Put::Broken,
            Poll::Ready(None) => {
                sink.put(b"0\r\n\r\n");
                return Put::All;
            }
        }
    }
    Put::Some
}

/// Polls for the next bytes of a body, at most `room`; the inner option is `None` if the body broke off.
fn poll_bytes(stream: &mut StreamBody, room: usize, cx: &mut Context<'_>) -> Poll<Option<Option<Bytes>>> {
    loop {
        return match stream.as_mut().poll_some(room, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the body of an answer broke off");
                Poll::Ready(Some(None))
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Poll::Ready(Some(Some(bytes))),
                // Trailers are dropped.
                Err(_) => continue,
            },
        };
    }
}
