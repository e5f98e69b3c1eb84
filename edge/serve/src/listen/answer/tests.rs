//! Bodies on hyper: they have the length that was announced, or they fail.

use http::header::CONTENT_LENGTH;
use http_body_util::{Full, StreamBody};
use proptest::prelude::*;

use super::*;

/// A frame of a body, or a moment in which there is none.
type Step = Option<Frame<Bytes>>;

/// A body of these frames, of whose end nothing is known before it comes.
fn body(steps: Vec<Step>) -> impl ResponseBody<Error: Into<BodyError>> + Unpin {
    let mut steps = steps.into_iter();
    let frames = futures_util::stream::poll_fn(move |cx| match steps.next() {
        None => Poll::Ready(None),
        Some(Some(frame)) => Poll::Ready(Some(Ok::<_, BodyError>(frame))),
        Some(None) => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    });
    StreamBody::new(frames)
}

fn data(length: usize) -> Frame<Bytes> {
    Frame::data(Bytes::from(vec![b'x'; length]))
}

fn answer<B>(body: B, announced: Option<u64>) -> Answer<B>
where
    B: ResponseBody<Error: Into<BodyError>> + Unpin,
{
    let mut response = Response::new(body);
    response.headers_mut().extend(announced.map(|length| (CONTENT_LENGTH, length.into())));
    Answer::of(response, false, Rc::<Activity>::default().begin(false)).into_body()
}

/// What a body came to.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    bytes: usize,
    trailers: usize,
    /// It broke off.
    has_failed: bool,
}

/// Asks for frames as hyper does: for HTTP/1.1 none after the last byte that was announced.
fn sent<B>(mut answer: Answer<B>, announced: Option<u64>, is_http1: bool) -> Sent
where
    B: ResponseBody<Error: Into<BodyError>> + Unpin,
{
    let mut sent = Sent { bytes: 0, trailers: 0, has_failed: false };
    let cx = &mut Context::from_waker(Waker::noop());
    if is_http1 && answer.exceeds_nothing(cx) {
        return Sent { has_failed: true, ..sent };
    }
    loop {
        let has_all = announced.is_some_and(|announced| sent.bytes as u64 == announced);
        if answer.is_end_stream() || is_http1 && has_all {
            return sent;
        }
        match Pin::new(&mut answer).poll_frame(cx) {
            Poll::Pending => {}
            Poll::Ready(None) => return sent,
            Poll::Ready(Some(Err(_))) => return Sent { has_failed: true, ..sent },
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => sent.bytes += bytes.remaining(),
                Err(_) => sent.trailers += 1,
            },
        }
    }
}

#[test]
fn a_body_at_hand_of_another_length_fails() {
    for (length, announced) in [(2_200, 6_600), (6_600, 2_200), (0, 1), (1, 0)] {
        let whole = || answer(Full::new(Bytes::from(vec![b'x'; length])), Some(announced));
        assert!(!whole().is_end_stream() && sent(whole(), None, false).has_failed, "{length} of {announced}");
    }
}

#[test]
fn trailers_follow_a_whole_body_alone() {
    let trailers = || Frame::trailers(HeaderMap::new());
    for (announced, has_failed) in [(Some(5), false), (None, false), (Some(6), true)] {
        let steps = vec![Some(data(5)), Some(trailers())];
        let expected = Sent { bytes: 5, trailers: usize::from(!has_failed), has_failed };
        assert_eq!(sent(answer(body(steps), announced), announced, false), expected, "{announced:?}");
    }
}

proptest! {
    #[test]
    fn a_body_has_the_length_that_was_announced_or_fails(
        steps in prop::collection::vec(prop::option::weighted(0.8, 0..20_usize), 0..8),
        announced in prop::option::of(0..60_u64),
        is_exact: bool,
        is_http1: bool,
    ) {
        let total: usize = steps.iter().flatten().sum();
        let announced = if is_exact { Some(total as u64) } else { announced };
        let has_gap = steps.contains(&None);
        let frames = steps.into_iter().map(|step| step.map(data)).collect();
        let sent = sent(answer(body(frames), announced), announced, is_http1);
        prop_assert!(announced.is_none_or(|announced| sent.bytes as u64 <= announced));
        match announced.map(|announced| announced.cmp(&(total as u64))) {
            None | Some(std::cmp::Ordering::Equal) => {
                prop_assert_eq!(sent, Sent { bytes: total, trailers: 0, has_failed: false });
            }
            // The bytes beyond came later than hyper asked for any: none of them was sent.
            Some(std::cmp::Ordering::Less) if is_http1 && has_gap => {}
            Some(_) => prop_assert!(sent.has_failed, "{:?}", sent),
        }
    }
}
