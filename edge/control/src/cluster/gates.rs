//! The gates of all other nodes, closed by a collection: nobody begins to rely on files that it is about to take.

use std::collections::HashSet;
use std::time::Duration;

use devanture_config::Digest;
use futures_util::future::try_join_all;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::Error;
use super::listener::GATE;
use super::messages::{Answer, GateHeld, GateRequest, Gone};
use super::nodes::Nodes;
use super::peer::{self, Exchange};
use crate::ledger::Member;
use devanture_store::blobs::Key;

/// Longest time for which a node keeps its gate closed for another one, which may be stuck.
pub const GATE_MAX: Duration = Duration::from_secs(10);
/// Time after which a collection begins to take nothing more by a gate: well before it opens by itself …
const USABLE: Duration = Duration::from_secs(5);
/// … and after which it gives up what it has begun, such as a deletion that a slow bucket has not answered: what the
/// bucket has received by then is done before the gate opens.
const TAKING_MAX: Duration = Duration::from_secs(8);
/// Attempts to close the gates of all nodes while some come and go.
const CLOSE_TRIES: usize = 5;
/// Longest wait for a node to close its gate.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// The gates, for as long as this lives.
pub struct GatesClosed {
    exchanges: Vec<Exchange>,
    held: HashSet<Key>,
    since_s: Option<u64>,
    closed: Instant,
}

impl GatesClosed {
    /// Whether another node relies on `key`.
    #[must_use]
    pub fn holds(&self, key: Key) -> bool {
        self.held.contains(&key)
    }

    /// The second since 1970 from which on other nodes rely on all that was put, where there is one.
    #[must_use]
    pub const fn held_since_s(&self) -> Option<u64> {
        self.since_s
    }

    /// Whether they are still closed for sure.
    #[must_use]
    pub fn are_closed(&self) -> bool {
        self.closed.elapsed() < USABLE
    }

    /// Takes something for as long as the gates are closed for sure; `None` if it took longer, and may be gone or not.
    pub async fn while_closed<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.closed + TAKING_MAX, taking).await.ok()
    }

    /// Says what went, and opens the gates.
    pub async fn open(self, gone: &[Digest]) {
        let gone = Gone { blobs: gone.to_vec() };
        for exchange in self.exchanges {
            exchange.sender.send(&gone).await;
        }
    }
}

impl Nodes {
    /// Closes the gates of all other nodes that live. What they committed before that can be read here when it returns:
    /// who has just given up a lease relies on its commit from then on.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where one lives and does not answer, or where nodes come and go all the time;
    /// [`Error::Catalog`], also where the catalog cannot be reached.
    pub async fn close_gates(&self, keys: &[Key]) -> Result<GatesClosed, Error> {
        let mut request = GateRequest::default();
        for key in keys {
            match key {
                Key::Blob(digest) => request.blobs.push(*digest),
                Key::Manifest(version) => request.manifests.push(*version),
                Key::Variant(..) | Key::Delta(..) => {}
            }
        }
        for _ in 0..CLOSE_TRIES {
            let others = self.others().await?;
            let gates = self.close_gates_of(&others, &request).await?;
            self.catch_up().await?;
            // One that came meanwhile was not asked.
            if self.others().await? == others {
                return Ok(gates);
            }
        }
        Err(Error::Unsettled)
    }

    async fn close_gates_of(&self, others: &[Member], request: &GateRequest) -> Result<GatesClosed, Error> {
        let closed = Instant::now();
        let all = try_join_all(others.iter().map(|member| self.close_gate(member, request))).await?;
        let mut gates = GatesClosed { exchanges: Vec::new(), held: HashSet::new(), since_s: None, closed };
        for (exchange, GateHeld { files, since_s }) in all.into_iter().flatten() {
            gates.exchanges.push(exchange);
            gates.held.extend(files.blobs.into_iter().map(Key::Blob));
            gates.held.extend(files.manifests.into_iter().map(Key::Manifest));
            gates.since_s = [gates.since_s, since_s].into_iter().flatten().min();
        }
        Ok(gates)
    }

    /// Closes one; `None` if the node is gone.
    async fn close_gate(&self, member: &Member, request: &GateRequest) -> Result<Option<(Exchange, GateHeld)>, Error> {
        let close = async {
            let mut exchange = self.open(member, GATE).await?;
            exchange.sender.send(request).await;
            match exchange.reader.next().await {
                Ok(Some(Answer::Held(held))) => Ok((exchange, held)),
                Ok(_) => Err(peer::unreachable(member, "it did not close its gate".to_owned())),
                Err(reason) => Err(peer::unreachable(member, reason)),
            }
        };
        let silent = || peer::unreachable(member, "it does not answer".to_owned());
        match timeout(CLOSE_MAX, close).await.unwrap_or_else(|_elapsed| Err(silent())) {
            Ok(closed) => Ok(Some(closed)),
            // A process that took its place was not asked.
            Err(error) if self.current(&member.node).await?.is_some() => Err(error),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deletion_that_the_bucket_does_not_answer_is_given_up_before_the_gates_open() {
        let closed = Instant::now();
        let gates = GatesClosed { exchanges: Vec::new(), held: HashSet::new(), since_s: None, closed };
        assert_eq!(gates.while_closed(async { "gone" }).await, Some("gone"));
        // The last moment at which one is begun.
        advance(USABLE - Duration::from_millis(1)).await;
        assert!(gates.are_closed());
        assert_eq!(gates.while_closed(std::future::pending::<()>()).await, None);
        assert!(closed.elapsed() < GATE_MAX);
        assert!(!gates.are_closed(), "no other one is begun");
    }
}
