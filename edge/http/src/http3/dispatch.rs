//! From the head of a request to its answer, or to what is awaited.

use http::{HeaderName, Method, StatusCode, Version, header};

use super::super::inbound::{Broken, Inbound};
use super::super::linger::Lingering;
use super::super::request::RequestHead;
use super::super::response::Response;
use super::super::{Answered, Service, Turn, message};
use super::Connection;
use super::control::Unidirectional;
use super::frame::{Code, Fault};
use super::streams::Stream;

/// Bytes of an upload after whose reading the connection looks whether there is room for more. Less than half of what
/// may be unread of a stream.
const NOTABLE_BYTES: usize = 32 * 1024;

/// The field that may stand for `:authority`.
const HOST: HeaderName = header::HOST;

/// Whether a request says whom it is for as RFC 9114 §4.3.1 asks: where the scheme has an authority, by `:authority` or
/// by `Host`, neither of them empty, and by both in the same way. RFC 9113 leaves that to who decides.
fn names_its_authority(request: &RequestHead<'_>) -> bool {
    let name = HOST;
    let host = request.fields.get(&name);
    let is_of_http = request.scheme.is_none_or(|scheme| matches!(scheme, "https" | "http"));
    match (request.authority, host) {
        (None, None) => !is_of_http,
        (_, Some(b"")) => !is_of_http,
        (Some(authority), Some(host)) => authority.as_bytes().eq_ignore_ascii_case(host),
        (Some(_), None) | (None, Some(_)) => true,
    }
}

impl<S: Service> Connection<S> {
    /// A request begins. Where it is not whole, the stream that is made here is still to get the rest of it.
    pub(super) fn request(
        &mut self,
        id: u64,
        is_whole: bool,
        section: &[u8],
        turn: &mut Turn<'_>,
    ) -> Result<(), Fault> {
        let mut decoder = std::mem::take(&mut turn.scratch.qpack);
        let read = message::read(&mut decoder, section, &self.limits, turn.scratch);
        turn.scratch.qpack = decoder;
        match read? {
            Ok(()) => {}
            Err(message::Unsound::Malformed) => return Err(Fault::Stream(Code::Message)),
            Err(message::Unsound::TooLarge) => {
                self.answer_too_large(id);
                return Ok(());
            }
        }
        let head = turn.scratch.read.request(Version::HTTP_3, &turn.scratch.lines);
        let is_short = is_whole && turn.scratch.read.content_length().is_some_and(|length| length > 0);
        // §4.1.2.
        if is_short || !names_its_authority(&head) {
            return Err(Fault::Stream(Code::Message));
        }
        self.count_request();
        if !is_whole {
            self.begin(id, is_whole, None, turn);
        } else if let Answered::Later(pending) = self.answer(id, turn) {
            self.begin(id, is_whole, Some(pending), turn);
        }
        Ok(())
    }

    /// Has a request answered at once, if it can be.
    fn answer(&mut self, id: u64, turn: &Turn<'_>) -> Answered<(), S::Pending> {
        let head = turn.scratch.read.request(Version::HTTP_3, &turn.scratch.lines);
        let Self { service, streams, .. } = self;
        let is_head = *head.method == Method::HEAD;
        let answered = service.answer(&head, turn.now, |mut answer| {
            if !answer.settle(is_head) {
                return false;
            }
            streams.add(Stream::new(id, Response::new(is_head).with(answer)));
            true
        });
        let is_sound = match answered {
            Answered::Now(is_sound) => is_sound,
            Answered::Later(pending) => return Answered::Later(pending),
        };
        if !is_sound {
            tracing::error!("a body has another length than its head announces");
            self.reset(id, Code::Internal, false);
        }
        Answered::Now(())
    }

    fn count_request(&mut self) {
        self.floods.request();
        self.requests += 1;
        if self.requests >= self.limits.requests {
            self.drain.request();
        }
    }

    /// Answers a request whose head is larger than it may be (RFC 6585 §5, RFC 9114 §4.2.2).
    pub(super) fn answer_too_large(&mut self, id: u64) {
        self.count_request();
        self.say(id, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }

    /// Answers with a status of our own.
    fn say(&mut self, id: u64, status: StatusCode) {
        self.service.note_refusal(Version::HTTP_3, status);
        self.streams.add(Stream::new(id, Response::of_status(status)));
    }

    /// Begins an answer that is awaited.
    fn begin(&mut self, id: u64, is_whole: bool, pending: Option<S::Pending>, turn: &Turn<'_>) {
        let head = &turn.scratch.read;
        let mut stream = Stream::new(id, Response::new(*head.method() == Method::HEAD));
        let body = if is_whole {
            Inbound::empty()
        } else {
            let waker = self.streams.waker(id);
            let notable = NOTABLE_BYTES.min(usize::try_from(self.limits.stream_window / 2).unwrap_or(usize::MAX));
            let (inbound, filler) = Inbound::new(head.content_length(), notable, waker.clone());
            (stream.waker, stream.filler) = (Some(waker), Some(filler));
            inbound
        };
        match head.to_request(Version::HTTP_3, &turn.scratch.lines, body) {
            Some(request) => {
                stream.response.begin(self.service.begin(request, pending));
                self.streams.add(stream);
            }
            // The target may be one by the bytes that RFC 9114 allows, and none by RFC 3986.
            None => self.say(id, StatusCode::BAD_REQUEST),
        }
    }

    /// Releases a stream that was taken out of the others.
    pub(super) fn release(&mut self, stream: &Stream<S::Outcome>, broken: Broken) {
        let Some(filler) = &stream.filler else { return };
        if stream.upload.is_some() {
            filler.fail(broken);
        }
        filler.detach();
        self.give_back(stream.own.unread);
    }

    /// Releases all streams.
    pub(super) fn abandon(&mut self) {
        (self.openings, self.unbegun, self.lingering) = (Vec::new(), Vec::new(), Lingering::new());
        (self.unidirectional, self.actions, self.control) = (Unidirectional::default(), Vec::new(), Vec::new());
        self.streams.abandon();
    }
}
