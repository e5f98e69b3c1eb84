//! The services of listeners.

use std::sync::Arc;
use std::time::Instant;

use http::Request;

use super::serve::Peer;
use devanture_base::fair::Lane;
use devanture_http::{Answer, Answered, Answering, Inbound, Outcome, RequestHead, Service};

/// Makes the service of a connection, and says whose share of the thread its answers take.
pub trait Services: 'static {
    /// The service.
    type Service: Service + 'static;

    /// That of a connection of `peer`.
    fn of(&self, peer: &Arc<Peer>) -> (Self::Service, Lane);
}

impl<F, S> Services for F
where
    F: Fn(&Arc<Peer>) -> (S, Lane) + 'static,
    S: Service + 'static,
{
    type Service = S;

    fn of(&self, peer: &Arc<Peer>) -> (S, Lane) {
        self(peer)
    }
}

/// A service that has nothing at hand: each of its answers is awaited.
#[derive(Debug, Clone)]
pub struct Awaited<F>(pub F);

impl<F: Fn(Request<Inbound>) -> Answering> Service for Awaited<F> {
    type Outcome = NoOutcome;
    type Pending = ();

    fn answer<R>(
        &self,
        _request: &RequestHead<'_>,
        _now: Instant,
        _put: impl FnOnce(Answer<NoOutcome>) -> R,
    ) -> Answered<R, ()> {
        Answered::Later(())
    }

    fn end_of_batch(&self) {}

    fn begin(&self, request: Request<Inbound>, _pending: Option<()>) -> Answering {
        (self.0)(request)
    }
}

/// The outcome of an answer at hand, where there is none.
#[derive(Debug)]
pub enum NoOutcome {}

impl Outcome for NoOutcome {
    fn sent(&mut self, _bytes: usize) {
        match *self {}
    }

    fn complete(&mut self, _now: Instant) {
        match *self {}
    }
}
