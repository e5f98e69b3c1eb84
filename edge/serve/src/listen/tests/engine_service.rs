//! What the tests answer: `/bytes/N` and what has no name at once, the rest once it is awaited.

use super::*;
use devanture_http::{
    Answer, AnswerBody, AnswerHead, Answered, Answering, Inbound, Outcome, PreparedHead, RequestHead, Service,
};

pub(super) struct EngineService {
    peer: Arc<Peer>,
    gate: Rc<Semaphore>,
    peers: Rc<RefCell<Vec<Arc<Peer>>>>,
}

/// Ignores how an answer goes.
pub(super) struct Untold;

impl Outcome for Untold {
    fn sent(&mut self, _bytes: usize) {}

    fn complete(&mut self, _now: std::time::Instant) {}
}

impl EngineService {
    pub(super) fn new(peer: &Arc<Peer>, gate: &Rc<Semaphore>, peers: &Rc<RefCell<Vec<Arc<Peer>>>>) -> Self {
        Self { peer: Arc::clone(peer), gate: Rc::clone(gate), peers: Rc::clone(peers) }
    }
}

impl EngineService {
    /// The answer, where it is at hand.
    fn at_once<R>(&self, request: &RequestHead<'_>, put: impl FnOnce(Answer<Untold>) -> R) -> Option<R> {
        if request.path.starts_with("/length/") {
            return None;
        }
        let body = match request.path.strip_prefix("/bytes/") {
            Some(count) => Bytes::from(vec![b'x'; count.parse().unwrap()]),
            None if matches!(request.path, "/wait" | "/echo" | "/endless" | "/events" | "/upgrade") => return None,
            None => Bytes::from_static(b"hello"),
        };
        self.peers.borrow_mut().push(Arc::clone(&self.peer));
        let length = body.len().to_string();
        let head = PreparedHead::new([("content-length", length.as_bytes())], Vec::new());
        let head = AnswerHead::Prepared(Arc::new(head), [None, None, None]);
        Some(put(Answer { status: StatusCode::OK, head, body: AnswerBody::Bytes(body), outcome: Untold }))
    }
}

impl Service for EngineService {
    type Outcome = Untold;
    type Pending = ();

    fn answer<R>(
        &self,
        request: &RequestHead<'_>,
        _now: std::time::Instant,
        put: impl FnOnce(Answer<Untold>) -> R,
    ) -> Answered<R, ()> {
        self.at_once(request, put).into()
    }

    fn end_of_batch(&self) {}

    fn begin(&self, request: Request<Inbound>, _: Option<()>) -> Answering {
        self.peers.borrow_mut().push(Arc::clone(&self.peer));
        let response = respond(request, Rc::clone(&self.gate));
        Box::pin(async move {
            let body =
                |body: TestBody| -> devanture_http::StreamBody { Box::pin(body.map_err(|never| match never {})) };
            response.await.map(body)
        })
    }
}
