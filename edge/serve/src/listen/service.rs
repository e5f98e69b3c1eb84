//! Answers the requests of a listener: through the library, and, where it has one, through the engine.

use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::serve::Peer;
use devanture_base::fair::Lane;
use devanture_http::{
    self as engine, Answer, Answered, Answering, BodyError, Inbound, Outcome, RequestHead, ResponseBody,
};

/// Answers the requests of a listener. A closure of a request and its peer is one without the engine.
pub trait Answers: 'static {
    /// The service on the engine.
    type EngineService: engine::Service + 'static;
    /// An answer that is awaited.
    type Future: Future<Output = Response<Self::Body>> + 'static;
    /// The body of an answer.
    type Body: ResponseBody<Error: Into<BodyError>> + Unpin + 'static;

    /// The service of one connection on the engine, and whose share of the thread its answers take; without one, the
    /// library drives it.
    fn on_engine(&self, peer: &Arc<Peer>) -> Option<(Self::EngineService, Lane)>;

    /// Answers a request that the library read.
    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> Self::Future;

    /// Receives that a request was answered with this status before it could be one for [`Answers::call`].
    fn note_refusal(&self, peer: &Arc<Peer>, version: Version, status: StatusCode) {
        if let Some((service, _)) = self.on_engine(peer) {
            engine::Service::note_refusal(&service, version, status);
        }
    }
}

impl<S, F, B> Answers for S
where
    S: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: ResponseBody<Error: Into<BodyError>> + Unpin + 'static,
{
    type EngineService = NoEngine;
    type Future = F;
    type Body = B;

    fn on_engine(&self, _peer: &Arc<Peer>) -> Option<(NoEngine, Lane)> {
        None
    }

    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> F {
        self(request, peer)
    }
}

/// A closure with the engine beside it.
#[derive(Debug, Clone)]
pub struct WithEngine<C, E> {
    /// Answers what the library read.
    pub call: C,
    /// Makes the service of a connection on the engine.
    pub on_engine: E,
}

impl<C, E, F, B, S> Answers for WithEngine<C, E>
where
    C: Fn(Request<Incoming>, Arc<Peer>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: ResponseBody<Error: Into<BodyError>> + Unpin + 'static,
    E: Fn(&Arc<Peer>) -> Option<(S, Lane)> + 'static,
    S: engine::Service + 'static,
{
    type EngineService = S;
    type Future = F;
    type Body = B;

    fn on_engine(&self, peer: &Arc<Peer>) -> Option<(S, Lane)> {
        (self.on_engine)(peer)
    }

    fn call(&self, request: Request<Incoming>, peer: Arc<Peer>) -> F {
        (self.call)(request, peer)
    }
}

/// The service on the engine of a listener without it.
#[derive(Debug)]
pub enum NoEngine {}

impl engine::Service for NoEngine {
    type Outcome = Self;
    type Pending = Self;

    fn answer<R>(
        &self,
        _request: &RequestHead<'_>,
        _now: Instant,
        _put: impl FnOnce(Answer<Self>) -> R,
    ) -> Answered<R, Self> {
        match *self {}
    }

    fn end_of_batch(&self) {
        match *self {}
    }

    fn begin(&self, _request: Request<Inbound>, _pending: Option<Self>) -> Answering {
        match *self {}
    }
}

impl Outcome for NoEngine {
    fn sent(&mut self, _bytes: usize) {
        match *self {}
    }

    fn complete(&mut self, _now: Instant) {
        match *self {}
    }
}
