//! From the head of a request to its answer, or to the stream that will have one.

use http::{Method, StatusCode, Version};

use super::super::answer::AnswerBody;
use super::super::inbound::{Broken, Inbound};
use super::super::linger::Lingering;
use super::super::response::Response;
use super::super::{Answered, Service, Turn, message};
use super::flow::{ReceiveWindow, WINDOW_MAX};
use super::frame::{Code, Fault};
use super::ready::{Content, Ready, ReadyQueue};
use super::streams::{Stream, Upload};
use super::turn::DATA_BYTES_MAX;
use super::{Connection, Phase};

/// Bytes of an upload after whose reading the connection looks at its windows. Less than half a window of a stream:
/// many that are read in part take from the window of the connection, too.
const NOTABLE_BYTES: usize = 32 * 1024;

impl<S: Service> Connection<S> {
    /// A request begins.
    pub(super) fn request(&mut self, id: u32, is_whole: bool, block: &[u8], turn: &mut Turn<'_>) -> Result<(), Fault> {
        self.last_begun = id;
        if self.drain.passes_over(id) {
            self.floods.control(turn.now)?;
            self.recent.expect(self.limits.stream_window);
            return Ok(message::discard(&mut self.decoder, block)?);
        }
        // §5.1.2. What is refused costs next to nothing, but is not for nothing either.
        if self.in_flight() >= usize::try_from(self.limits.streams).unwrap_or(usize::MAX) {
            self.floods.control(turn.now)?;
            message::discard(&mut self.decoder, block)?;
            self.reset(id, Code::RefusedStream);
            return Ok(());
        }
        self.last_taken = id;
        match message::read(&mut self.decoder, block, &self.limits, turn.scratch)? {
            Ok(()) => {}
            Err(message::Unsound::Malformed) => return Err(Fault::Stream(id, Code::Protocol)),
            Err(message::Unsound::TooLarge) => {
                self.count_request();
                self.say(id, is_whole, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
                return Ok(());
            }
        }
        // §8.1.1.
        if is_whole && turn.scratch.read.content_length().is_some_and(|length| length > 0) {
            return Err(Fault::Stream(id, Code::Protocol));
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
    #[inline]
    fn answer(&mut self, id: u32, turn: &Turn<'_>) -> Answered<(), S::Pending> {
        let head = turn.scratch.read.request(Version::HTTP_2, &turn.scratch.lines);
        let Self { service, ready, streams, window: all, peer, .. } = self;
        let (is_head, window) = (*head.method == Method::HEAD, peer.window);
        let bytes_max = usize::try_from(window).unwrap_or(usize::MAX).min(all.available()).min(DATA_BYTES_MAX);
        let answered = service.answer(&head, turn.now, |mut answer| {
            if !answer.settle(is_head) {
                return false;
            }
            match &answer.body {
                AnswerBody::Bytes(bytes) if bytes.len() <= bytes_max => {
                    all.spend(bytes.len());
                    ready.push(Ready { id, opened: 0, content: Content::Answer(answer) });
                }
                _ => streams.add(Stream::new(id, Response::new(is_head).with(answer), window)),
            }
            true
        });
        let is_sound = match answered {
            Answered::Now(is_sound) => is_sound,
            Answered::Later(pending) => return Answered::Later(pending),
        };
        if !is_sound {
            tracing::error!("a body has another length than its head announces");
            self.reset(id, Code::Internal);
        }
        Answered::Now(())
    }

    #[inline]
    fn count_request(&mut self) {
        self.floods.request();
        self.requests += 1;
        if self.requests >= self.limits.requests {
            self.drain.request();
        }
    }

    /// Answers with a status of our own.
    fn say(&mut self, id: u32, is_whole: bool, status: StatusCode) {
        self.service.note_refusal(Version::HTTP_2, status);
        if is_whole {
            return self.ready.push(Ready { id, opened: 0, content: Content::Status(status) });
        }
        let mut stream = Stream::new(id, Response::of_status(status), self.peer.window);
        stream.upload = Some(Upload { window: ReceiveWindow::new(self.limits.stream_window) });
        self.streams.add(stream);
    }

    /// Begins an answer that is awaited.
    fn begin(&mut self, id: u32, is_whole: bool, pending: Option<S::Pending>, turn: &Turn<'_>) {
        let head = &turn.scratch.read;
        let response = Response::new(*head.method() == Method::HEAD);
        let mut stream = Stream::new(id, response, self.peer.window);
        let body = if is_whole {
            Inbound::empty()
        } else {
            let waker = self.streams.waker(id);
            let window = ReceiveWindow::new(self.limits.stream_window);
            let notable = NOTABLE_BYTES.min(usize::try_from(self.limits.stream_window / 2).unwrap_or(usize::MAX));
            let (inbound, filler) = Inbound::new(head.content_length(), notable, waker.clone());
            (stream.waker, stream.filler, stream.upload) = (Some(waker), Some(filler), Some(Upload { window }));
            inbound
        };
        match head.to_request(Version::HTTP_2, &turn.scratch.lines, body) {
            Some(request) => {
                stream.response.begin(self.service.begin(request, pending));
                self.streams.add(stream);
            }
            // The target may be one by the bytes that RFC 9113 allows, and none by RFC 3986.
            None => self.say(id, is_whole, StatusCode::BAD_REQUEST),
        }
    }

    /// Makes streams of the answers that wait, for which `window` was the window of a stream.
    pub(super) fn unready(&mut self, window: u32) {
        for ready in self.ready.take() {
            let (id, bytes) = (ready.id, ready.bytes());
            match ready.content {
                Content::Answer(answer) if bytes > 0 => {
                    self.window.refund(bytes);
                    // The sum is at most the largest window: it was checked when the window was opened.
                    let window = u32::try_from(i64::from(window) + ready.opened).unwrap_or(WINDOW_MAX);
                    self.streams.add(Stream::new(id, Response::new(false).with(answer), window));
                }
                content => self.ready.push(Ready { content, ..ready }),
            }
        }
    }

    /// Releases a stream that was taken out of the others.
    pub(super) fn release(&mut self, stream: &Stream<S::Outcome>, broken: Broken) {
        let Some(filler) = &stream.filler else { return };
        if stream.upload.is_some() {
            filler.fail(broken);
        }
        let unread = filler.detach();
        self.give_back(unread);
    }

    /// Releases all streams.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Ended;
        (self.partial, self.block) = (Vec::new(), None);
        (self.ready, self.lingering) = (ReadyQueue::new(), Lingering::new());
        self.streams.abandon();
    }
}
