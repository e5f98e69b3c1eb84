//! Bodies of requests, where hyper speaks: over HTTP/2, the rest of one that nobody reads is received and discarded for
//! a while (RFC 9113 §8.1; `engine::linger` says why). hyper resets a stream as soon as its body is dropped and
//! its response sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::limits::ConnectionLimits;
use super::serve::{Peer, Protocol};

/// The body of a request.
#[derive(Debug)]
pub struct RequestBody<B: Body<Data = Bytes> + Send + Unpin + 'static = Incoming> {
    /// There until the drop.
    incoming: Option<B>,
    /// For how long and how many bytes of it are received after its reader is gone.
    linger: Option<(Duration, u64)>,
}

impl RequestBody {
    /// Takes over the body of a request that came from `peer`.
    #[must_use]
    pub fn of(request: Request<Incoming>, peer: &Arc<Peer>, limits: &ConnectionLimits) -> Request<Self> {
        // The end of a connection of HTTP/1.1 is that of its socket.
        let linger = (peer.protocol == Protocol::Http2).then(|| limits.linger());
        request.map(|incoming| Self { incoming: Some(incoming), linger })
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Body for RequestBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Drop for RequestBody<B> {
    fn drop(&mut self) {
        let Some((time_max, bytes_max)) = self.linger else { return };
        let Some(mut incoming) = self.incoming.take().filter(|incoming| !incoming.is_end_stream()) else { return };
        let rest = async move {
            let mut bytes = 0;
            while bytes < bytes_max
                && let Some(Ok(frame)) = incoming.frame().await
            {
                bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
        };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(time_max, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use parking_lot::Mutex;

    use super::*;

    /// Parts of a body, which counts those that were not read; after the last one it rests.
    struct Parts(Arc<Mutex<VecDeque<Bytes>>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let part = self.0.lock().pop_front();
            part.map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
        }
    }

    /// Number of ten parts of 100 bytes that are left after the body was dropped and all was done.
    async fn left(linger: Option<(Duration, u64)>) -> usize {
        let parts = Arc::new(Mutex::new(vec![Bytes::from_static(&[0; 100]); 10].into()));
        drop(RequestBody { incoming: Some(Parts(Arc::clone(&parts))), linger });
        while Arc::strong_count(&parts) > 1 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let left = parts.lock();
        left.len()
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_reads_is_received_within_limits() {
        let began = tokio::time::Instant::now();
        assert_eq!(left(None).await, 10);
        assert_eq!(left(Some((Duration::from_secs(2), 500))).await, 5);
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        // It is waited for what does not come, and no longer than that.
        assert_eq!(left(Some((Duration::from_secs(60), 5_000))).await, 0);
        assert!(began.elapsed() >= Duration::from_secs(61));
    }
}
