//! Connection of an upgrade request (RFC 9110 §7.8): once the response that switches is sent, the driver passes the
//! stream to the service.
//!
//! The engine has no streams, and only passes on the two ends of a promise and writes the response.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// Stream after the switch from HTTP.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Stream of an upgraded connection.
pub type UpgradedStream = Box<dyn Stream>;

/// Promise of a stream, stored among the extensions of a request. Requests can be cloned; the stream is taken once.
#[derive(Clone)]
struct Promise(Arc<Mutex<Option<oneshot::Receiver<UpgradedStream>>>>);

/// Future of the stream; `None` if the connection ends before the upgrade.
pub struct OnUpgrade(oneshot::Receiver<UpgradedStream>);

/// The connection's end of the promise.
pub struct UpgradeSender(oneshot::Sender<UpgradedStream>);

impl OnUpgrade {
    /// Takes the promise out of a request; `None` if the request asks for no upgrade, or the promise was taken before.
    pub fn take<B>(request: &mut Request<B>) -> Option<Self> {
        let promise = request.extensions_mut().remove::<Promise>()?;
        let receiver = promise.0.lock().take();
        receiver.map(Self)
    }
}

impl Future for OnUpgrade {
    type Output = Option<UpgradedStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

impl UpgradeSender {
    /// Puts a promise among the extensions of a request.
    pub fn of<B>(request: &mut Request<B>) -> Self {
        let (sender, receiver) = oneshot::channel();
        request.extensions_mut().insert(Promise(Arc::new(Mutex::new(Some(receiver)))));
        Self(sender)
    }

    /// Sends the stream to the receiver. Without a receiver, the stream is closed.
    pub fn send(self, stream: impl Stream + 'static) {
        drop(self.0.send(Box::new(stream)));
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn poll(on_upgrade: &mut OnUpgrade) -> Poll<Option<UpgradedStream>> {
        Pin::new(on_upgrade).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_stream_is_promised_once_however_often_its_request_is_cloned() {
        let mut request = Request::new(());
        assert!(OnUpgrade::take(&mut request).is_none());
        let sender = UpgradeSender::of(&mut request);
        let mut clone = request.clone();
        let mut on_upgrade = OnUpgrade::take(&mut clone).unwrap();
        assert!(OnUpgrade::take(&mut clone).is_none() && OnUpgrade::take(&mut request).is_none());
        assert!(poll(&mut on_upgrade).is_pending());
        sender.send(tokio::io::empty());
        assert!(matches!(poll(&mut on_upgrade), Poll::Ready(Some(_))));
    }

    #[test]
    fn a_connection_that_ends_is_not_upgraded() {
        let mut request = Request::new(());
        let sender = UpgradeSender::of(&mut request);
        let mut on_upgrade = OnUpgrade::take(&mut request).unwrap();
        drop(sender);
        assert!(matches!(poll(&mut on_upgrade), Poll::Ready(None)));
    }
}
