//! Answers the requests of a listener: through the library, and, where it has a lane, through the engine.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;

use super::serve::Peer;
use crate::engine::{self, Answer, Answering, BodyError, Inbound, Outcome, RequestHead, ResponseBody};

/// Answers the requests of a listener. A closure of a request and its peer is one that has no lane.
pub trait Answers: 'static {
    /// The service on the engine.
    type EngineService: engine::Service + 'static;
    /// An answer that is awaited.
    type Future: Future<Output = Response<Self::Body>> + 'static;
    /// The body of an answer.
    type Body: ResponseBody<Error: Into<BodyError>> + Unpin + 'static;

    /// The service of one connection on the engine; without one, the library drives it.
    fn lane(&self, peer: &Arc<Peer>) -> Option<Self::EngineService>;

    /// Answers a request that the library read.
    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Self::Future;
}

impl<S, F, B> Answers for S
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: ResponseBody<Error: Into<BodyError>> + Unpin + 'static,
{
    type EngineService = NoLane;
    type Future = F;
    type Body = B;

    fn lane(&self, _peer: &Arc<Peer>) -> Option<NoLane> {
        None
    }

    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> F {
        self(request, peer)
    }
}

/// A closure with a lane beside it.
#[derive(Debug, Clone)]
pub struct WithLane<C, L> {
    /// Answers what the library read.
    pub call: C,
    /// Makes the lane of a connection.
    pub lane: L,
}

impl<C, L, F, B, S> Answers for WithLane<C, L>
where
    C: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: ResponseBody<Error: Into<BodyError>> + Unpin + 'static,
    L: Fn(&Arc<Peer>) -> Option<S> + 'static,
    S: engine::Service + 'static,
{
    type EngineService = S;
    type Future = F;
    type Body = B;

    fn lane(&self, peer: &Arc<Peer>) -> Option<S> {
        (self.lane)(peer)
    }

    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> F {
        (self.call)(request, peer)
    }
}

/// The lane of who has none.
#[derive(Debug)]
pub enum NoLane {}

impl engine::Service for NoLane {
    type Outcome = Self;

    fn answer<R>(&self, _request: &RequestHead<'_>, _now: Instant, _put: impl FnOnce(Answer<Self>) -> R) -> Option<R> {
        match *self {}
    }

    fn end_of_batch(&self) {
        match *self {}
    }

    fn begin(&self, _request: Request<Inbound>) -> Answering {
        match *self {}
    }
}

impl Outcome for NoLane {
    fn sent(&mut self, _bytes: usize) {
        match *self {}
    }

    fn complete(&mut self, _now: Instant) {
        match *self {}
    }
}
