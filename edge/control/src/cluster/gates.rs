//! Gates of all other nodes, closed by a collection: meanwhile no lease on files about to be deleted can be taken.

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

/// Longest time for which a node keeps its gate closed for another, possibly stuck node.
pub const GATE_MAX: Duration = Duration::from_secs(10);
/// Time after which a collection starts no more deletions under a gate: well before the gate opens by itself …
const USABLE: Duration = Duration::from_secs(5);
/// … and after which running deletions are abandoned, for example in a slow bucket: requests received by the bucket
/// until then complete before the gate opens.
const TAKING_MAX: Duration = Duration::from_secs(8);
/// Attempts to close the gates of all nodes while nodes join and leave.
const CLOSE_TRIES: usize = 5;
/// Longest wait for a node to close its gate.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// Closed gates, opened on drop.
pub struct GatesClosed {
    exchanges: Vec<Exchange>,
    held: HashSet<Key>,
    since_s: Option<u64>,
    closed: Instant,
}

impl GatesClosed {
    /// Returns true if another node has a lease on `key`.
    #[must_use]
    pub fn holds(&self, key: Key) -> bool {
        self.held.contains(&key)
    }

    /// Returns the second since 1970 from which on all stored files are leased by other nodes, if any.
    #[must_use]
    pub const fn held_since_s(&self) -> Option<u64> {
        self.since_s
    }

    /// Returns true while the gates are certainly closed.
    #[must_use]
    pub fn are_closed(&self) -> bool {
        self.closed.elapsed() < USABLE
    }

    /// Runs `taking` while the gates are certainly closed; `None` after a timeout, with an unknown outcome.
    pub async fn while_closed<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.closed + TAKING_MAX, taking).await.ok()
    }

    /// Reports deleted files, and opens the gates.
    pub async fn open(self, gone: &[Digest]) {
        let gone = Gone { blobs: gone.to_vec() };
        for exchange in self.exchanges {
            exchange.sender.send(&gone).await;
        }
    }
}

impl Nodes {
    /// Closes the gates of all other live nodes. On return, their earlier commits are readable locally, since the
    /// holder of an ended lease relies on its commit.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if a live node does not answer, or nodes join and leave continuously; [`Error::Catalog`],
    /// also for an unreachable catalog.
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
            // A node that joined meanwhile was not asked.
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

    /// Closes the gate of a node; `None` if the node is gone.
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
            // A successor process was not asked.
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
        // Last moment at which a deletion starts.
        advance(USABLE - Duration::from_millis(1)).await;
        assert!(gates.are_closed());
        assert_eq!(gates.while_closed(std::future::pending::<()>()).await, None);
        assert!(closed.elapsed() < GATE_MAX);
        assert!(!gates.are_closed(), "no other one is begun");
    }
}
