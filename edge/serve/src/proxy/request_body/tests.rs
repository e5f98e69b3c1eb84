//! The party at fault for a request body that ends too early.

use super::*;

/// A body that breaks off before its first byte.
struct Breaks(Option<BoxError>);

impl Body for Breaks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

#[tokio::test]
async fn whatever_breaks_a_request_off_is_the_clients_fault_and_slowness_has_a_word_of_its_own() {
    for (error, upload) in [
        (Broken::Gone.into(), Upload::BrokenOff),
        (Broken::Malformed.into(), Upload::Malformed),
        (Broken::Slow.into(), Upload::TooSlow),
        (io::Error::from(io::ErrorKind::ConnectionReset).into(), Upload::BrokenOff),
    ] {
        let error: BoxError = error;
        let text = error.to_string();
        let mut body = Original::new(Breaks(Some(error)), 10, false, Vec::new()).body();
        let progress = body.progress();
        assert!(body.frame().await.is_some_and(|frame| frame.is_err()));
        assert_eq!(progress.upload(), upload, "{text}");
    }
}
