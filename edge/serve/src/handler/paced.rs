//! Body that waits for its turn among the bodies of its app, for apps with a limit of bytes per second.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::sleep_until;

use super::body::{Body, Error};
use crate::version::{SendTurn, Traffic};
use devanture_http::{FRAME_BYTES, ResponseBody};

/// Ends at the send time of a piece, or as soon as the limit changes; true if the send time has come.
type Wait = Pin<Box<dyn Future<Output = bool>>>;

/// Pieces of a body, each booked before being sent.
pub(super) struct Paced {
    body: Body,
    traffic: Arc<Traffic>,
    /// Unsent bytes of the body.
    held: Bytes,
    /// Booked bytes among the unsent.
    booked: usize,
    /// Wait for the send time.
    wait: Option<Wait>,
}

impl Paced {
    pub(super) fn new(body: Body, traffic: Arc<Traffic>) -> Self {
        Self { body, traffic, held: Bytes::new(), booked: 0, wait: None }
    }

    /// Books the next piece of the unsent bytes.
    fn book(&mut self, bytes: usize) {
        self.booked = bytes;
        self.wait = self.traffic.book(bytes).map(wait);
    }

    /// The booked piece, once its send time has come.
    fn poll_booked(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        while let Some(wait) = &mut self.wait {
            if ready!(wait.as_mut().poll(context)) {
                self.wait = None;
            } else {
                self.book(self.booked);
            }
        }
        let piece = self.held.split_to(self.booked.min(self.held.len()));
        self.booked = 0;
        Poll::Ready(piece)
    }
}

fn wait(turn: SendTurn) -> Wait {
    Box::pin(async move {
        tokio::select! {
            () = sleep_until(turn.at.into()) => true,
            () = turn.changed.cancelled() => false,
        }
    })
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_some(usize::MAX, context)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (held, left) = (u64::try_from(self.held.len()).unwrap_or(u64::MAX), self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(most) = left.upper() {
            hint.set_upper(most.saturating_add(held));
        }
        hint.set_lower(left.lower().saturating_add(held));
        hint
    }
}

impl ResponseBody for Paced {
    fn poll_some(
        mut self: Pin<&mut Self>,
        bytes_max: usize,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece_max = bytes_max.clamp(1, FRAME_BYTES);
        loop {
            if self.booked > 0 {
                return self.poll_booked(context).map(|piece| Some(Ok(Frame::data(piece))));
            }
            if !self.held.is_empty() {
                let bytes = self.held.len().min(piece_max);
                self.book(bytes);
                continue;
            }
            let polled = ready!(Pin::new(&mut self.body).poll_some(piece_max, context));
            match polled.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) if bytes.is_empty() => {}
                Some(Ok(Ok(bytes))) => self.held = bytes,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn held_bytes(&self) -> usize {
        let held = if self.body.is_shared() { 0 } else { self.held.len() };
        held.saturating_add(self.body.held_bytes())
    }

    fn is_shared(&self) -> bool {
        self.body.is_shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::limits::Limits;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use crate::version::Traffics;

    fn traffic(per_second: u64) -> Arc<Traffic> {
        Traffics::new(&limits(per_second)).of(&"shop".parse().unwrap())
    }

    fn limits(per_second: u64) -> Limits {
        Limits { sent_bytes_per_second_per_app_max: per_second, ..Limits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_body_is_the_same_bytes_with_the_same_length() {
        let bytes: Vec<u8> = (0..100_000_usize).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let body = Body::full(bytes.clone().into()).paced(traffic(1 << 40));
        assert_eq!(body.size_hint().exact(), Some(100_000));
        let mut body = body;
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (FRAME_BYTES, Some(100_000 - FRAME_BYTES as u64)));
        assert!(!body.is_end_stream());
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), bytes);
        assert!(Body::empty().paced(traffic(1)).is_end_stream());
    }

    #[tokio::test]
    async fn what_is_beyond_the_pace_waits_for_its_time() {
        let traffic = traffic(1_000_000_000);
        // Other bodies have booked a minute.
        let _others = traffic.book(60_000_000_000).unwrap();
        let mut body = Body::full(Bytes::from_static(b"later")).paced(Arc::clone(&traffic));
        let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
        assert!(polled.is_pending());
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(5));
    }

    /// Regression: each reset stream left its bytes booked, and a few thousand resets silenced an app for hours.
    #[tokio::test]
    async fn bodies_that_are_dropped_before_their_time_keep_no_other_one_waiting() {
        let traffic = traffic(1_000);
        for _ in 0..100 {
            let mut body = Body::full(vec![0_u8; FRAME_BYTES].into()).paced(Arc::clone(&traffic));
            let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
            assert!(polled.is_pending());
        }
        let turn = traffic.book(1_000).unwrap();
        assert!(turn.at <= std::time::Instant::now() + std::time::Duration::from_secs(1));
    }

    #[tokio::test]
    async fn what_waits_goes_on_as_soon_as_the_limit_is_lifted() {
        for (before, after) in [(1, 0), (1, 1_000_000_000)] {
            let traffics = Traffics::new(&limits(before));
            let mut body =
                Body::full(Bytes::from_static(b"an hour later")).paced(traffics.of(&"shop".parse().unwrap()));
            let polled = std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
            assert!(polled.is_pending());
            // The change alone wakes the body: the rest is polled before the change.
            let rest = tokio::time::timeout(std::time::Duration::from_secs(5), body.collect());
            let (rest, ()) = tokio::join!(rest, async { traffics.set_limits(&limits(after)) });
            assert_eq!(rest.expect("it waits").unwrap().to_bytes(), "an hour later");
        }
    }
}
