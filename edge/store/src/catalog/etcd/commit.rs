//! Makes commits, one after the other, each with a certain outcome.
//!
//! An answer can be lost after etcd has made the commit, and a request can wait in a stopped member and be carried out
//! long afterwards. So a commit is carried out only while this node's marker has the revision that the node knows, and
//! changes the marker. After a lost answer a second transaction, on the same condition, puts a fence into the marker:
//! either the fence succeeds, and the lost commit can never be made any more; or the marker shows that the commit was
//! made, and when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use super::client::{Client, pause_before_again};
use super::fault::Fault;
use super::progress::Progress;
use super::transaction::{Answer, COMMIT_OPERATIONS_MAX, Transaction, at, holds, put, range_of, read};
use super::wire::{self, KeyValue, RangeRequest, Txn, TxnRequest, TxnResponse};
use crate::catalog::embedded::RedbCatalog;
use crate::catalog::{Catalog as _, Check, Commit, Error, Revision};

/// Longest time until a commit is sent, or sent again, including the wait for earlier commits. An election of a leader
/// takes one to two seconds.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest further time to find out the outcome of a commit.
const OUTCOME_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the mirror after a commit.
const MIRROR_TIME_MAX: Duration = Duration::from_secs(5);

/// Commits of this node.
pub(super) struct Committer {
    client: Arc<Client>,
    mirror: Arc<RedbCatalog>,
    progress: Arc<Progress>,
    /// The key of this node's marker.
    marker: Bytes,
    /// The id of the process, so that no process takes a foreign marker for its own.
    process: String,
    /// The turn to commit.
    turn: Arc<Mutex<Turn>>,
}

/// The committing call's knowledge of the marker.
#[derive(Default)]
struct Turn {
    /// The revision of the last change; 0 before the first.
    marker_revision: i64,
    /// Set if this process wrote the marker.
    is_ours: bool,
    /// Ids given so far.
    ids: u64,
}

/// The outcome of a commit after the loss of the answer.
enum Outcome {
    Made(Revision),
    /// The commit was not made and never will be.
    NotMade,
}

impl Committer {
    pub(super) fn new(client: Arc<Client>, mirror: Arc<RedbCatalog>, progress: Arc<Progress>, node: &str) -> Self {
        let marker = client.keys.marker(node);
        let process = format!("{:032x}", rand::random::<u128>());
        Self { client, mirror, progress, marker, process, turn: Arc::default() }
    }

    /// Makes a commit. Must run to completion: otherwise the knowledge of the marker is lost.
    pub(super) async fn commit(&self, commit: Commit, lease: i64) -> Result<Revision, Error> {
        let until = Instant::now() + COMMIT_TIME_MAX;
        self.mirror.check_in_place()?;
        let mirrored = match self.check_here(&commit.checks).await? {
            Ok(revision) => revision,
            Err(key) => return Err(Error::Conflict { key }),
        };
        let transaction = Transaction::new(&self.client, &self.marker, commit, lease, mirrored)?;
        let made = {
            let mut turn = self.turn(until).await?;
            // The mirror may have been handed over meanwhile.
            self.mirror.check_in_place()?;
            self.make(&transaction, &mut turn, until).await?
        };
        match made {
            Ok(revision) => {
                if !self.progress.reached(revision, Instant::now() + MIRROR_TIME_MAX).await {
                    tracing::warn!(revision, "a commit was made, and has not come back from etcd yet");
                }
                Ok(revision)
            }
            Err((check, seen)) if transaction.is_mirrored() => {
                // The next attempt finds the failed check, if any.
                self.progress.reached(seen, Instant::now() + MIRROR_TIME_MAX).await;
                let (Check::Absent(key) | Check::At(key, _)) = check;
                Err(Error::Conflict { key })
            }
            Err((check, seen)) => {
                self.wait_for_loss(&check, seen).await?;
                let (Check::Absent(key) | Check::At(key, _)) = check;
                Err(Error::Conflict { key })
            }
        }
    }

    /// Compares checks with the mirror if there are more than etcd compares in one request. Returns the revision at
    /// which they held, or the key of a failed check.
    async fn check_here(&self, checks: &[Check]) -> Result<Result<Revision, String>, Error> {
        // Before the records are read: later commits are then found to be too new.
        let revision = self.mirror.state().revision;
        if checks.len() <= COMMIT_OPERATIONS_MAX {
            return Ok(Ok(revision));
        }
        let key_of = |check: &Check| {
            let (Check::Absent(key) | Check::At(key, _)) = check;
            key.clone()
        };
        let keys: Vec<String> = checks.iter().map(key_of).collect();
        let found = self.mirror.get_all(&keys).await?;
        let mut pairs = checks.iter().zip(found);
        let failed = pairs.find(|(check, record)| !holds(check, record.as_ref().map(|record| record.revision)));
        Ok(failed.map_or(Ok(revision), |(check, _)| Err(key_of(check))))
    }

    /// Waits for earlier commits, and blocks later ones until the returned guard is dropped.
    pub(super) async fn pause(&self) -> Result<impl Drop + use<>, Error> {
        self.turn(Instant::now() + COMMIT_TIME_MAX + OUTCOME_TIME_MAX).await
    }

    async fn turn(&self, until: Instant) -> Result<OwnedMutexGuard<Turn>, Error> {
        let late = |_late| Error::Unavailable { reason: "commits before this one still wait for it".to_owned() };
        timeout_at(until, Arc::clone(&self.turn).lock_owned()).await.map_err(late)
    }

    /// Sends the commit until its outcome is certain. `Err` is the failed check.
    async fn make(
        &self,
        transaction: &Transaction,
        turn: &mut Turn,
        until: Instant,
    ) -> Result<Result<Revision, (Check, Revision)>, Error> {
        loop {
            let channel = self.client.connection(until).await?;
            let id = turn.next_id(&self.process);
            let request = transaction.request(turn.marker_revision, &id);
            let answer = self.client.call_on::<Txn>(&channel, &request, until).await;
            let fault = match answer.and_then(|answer| transaction.read(answer, turn.marker_revision)) {
                Ok(Answer::Made(revision)) => {
                    turn.found(revision, true);
                    return Ok(Ok(revision));
                }
                Ok(Answer::Conflict { check, seen }) => return Ok(Err((check, seen))),
                Ok(Answer::OtherMarker(revision)) => {
                    turn.found_other(revision);
                    continue;
                }
                Err(fault) => fault,
            };
            if !fault.is_refusal() {
                match self.outcome(&id, &fault, turn, until + OUTCOME_TIME_MAX).await? {
                    Outcome::Made(revision) => return Ok(Ok(revision)),
                    Outcome::NotMade => {}
                }
            }
            if !fault.is_transient() || Instant::now() >= until {
                return Err(fault.into());
            }
            pause_before_again().await;
        }
    }

    /// Finds out the outcome of the commit `id` with the answer `fault`.
    async fn outcome(&self, id: &str, fault: &Fault, turn: &mut Turn, until: Instant) -> Result<Outcome, Error> {
        tracing::warn!(%fault, "what became of a commit is found out by its marker");
        let undecided = |reason: String| Error::Undecided { reason };
        // Without space no key can be put. Such an answer means that the commit was refused or made, and is not on its
        // way.
        let fence = (!matches!(fault, Fault::NoSpace)).then(|| turn.next_id(&self.process));
        let marker = loop {
            match self.fence(fence.as_deref(), turn.marker_revision, until).await {
                Ok(Ok(revision)) => {
                    turn.found(revision, true);
                    return Ok(Outcome::NotMade);
                }
                Ok(Err(marker)) => break marker,
                Err(fault) if Instant::now() >= until => {
                    // From now on any state of the marker can come from this commit.
                    turn.is_ours = false;
                    return Err(undecided(fault.to_string()));
                }
                Err(fault) => {
                    tracing::debug!(%fault, "the marker could not be read");
                    pause_before_again().await;
                }
            }
        };
        let (value, revision) = marker.map_or_else(Default::default, |kv| (kv.value, kv.mod_revision));
        if value.as_ref() == id.as_bytes() {
            let made = Revision::try_from(revision).map_err(|error| undecided(error.to_string()))?;
            turn.found(made, true);
            return Ok(Outcome::Made(made));
        }
        // An earlier attempt to put the fence, with a lost answer; or, without a fence, no change at all.
        let is_fenced = fence.is_some_and(|fence| value.as_ref() == fence.as_bytes());
        if is_fenced || revision == turn.marker_revision {
            turn.marker_revision = revision;
            return Ok(Outcome::NotMade);
        }
        // A foreign process has overwritten the evidence: two nodes have the same name.
        turn.found_other(revision);
        Err(undecided("another process commits as this node".to_owned()))
    }

    /// Puts a fence into the marker if the marker is at `revision`, and returns the new revision; otherwise returns the
    /// value of the marker. Without a fence the marker is only read.
    async fn fence(
        &self,
        fence: Option<&str>,
        revision: i64,
        until: Instant,
    ) -> Result<Result<Revision, Option<KeyValue>>, Fault> {
        let channel = self.client.connection(until).await?;
        let Some(fence) = fence else {
            let request = RangeRequest { key: self.marker.clone(), ..RangeRequest::default() };
            let found = self.client.call_on::<wire::Range>(&channel, &request, until).await?;
            return Ok(Err(found.kvs.into_iter().next()));
        };
        let request = TxnRequest {
            compare: vec![at(self.marker.clone(), revision)],
            success: vec![put(self.marker.clone(), Bytes::copy_from_slice(fence.as_bytes()), 0)],
            failure: vec![read(self.marker.clone(), false)],
        };
        let answer: TxnResponse = self.client.call_on::<Txn>(&channel, &request, until).await?;
        let malformed = |what: &str| Fault::Malformed { endpoint: channel.url().to_owned(), reason: what.to_owned() };
        if answer.succeeded {
            let revision = answer.header.and_then(|header| Revision::try_from(header.revision).ok());
            return Ok(Ok(revision.ok_or_else(|| malformed("no revision"))?));
        }
        let found = answer.responses.into_iter().next().and_then(range_of);
        Ok(Err(found.ok_or_else(|| malformed("no marker"))?.into_iter().next()))
    }

    /// Waits until the mirror shows the reason of a refused commit, so that the caller reads the winning change.
    async fn wait_for_loss(&self, check: &Check, seen: Revision) -> Result<(), Error> {
        let until = Instant::now() + MIRROR_TIME_MAX;
        let (Check::Absent(key) | Check::At(key, _)) = check;
        let mut changes = self.progress.changes();
        self.progress.reached(seen, until).await;
        loop {
            changes.mark_unchanged();
            let found = self.mirror.get(key).await?;
            // A record that vanished with its lease was not deleted by a commit, and needs a separate wait.
            if !holds(check, found.map(|record| record.revision)) {
                return Ok(());
            }
            if !matches!(timeout_at(until, changes.changed()).await, Ok(Ok(()))) {
                return Ok(());
            }
        }
    }
}

impl Turn {
    /// Returns a new id for the value of the marker.
    fn next_id(&mut self, process: &str) -> String {
        self.ids = self.ids.wrapping_add(1);
        format!("{process} {}", self.ids)
    }

    fn found(&mut self, revision: Revision, is_ours: bool) {
        self.marker_revision = i64::try_from(revision).unwrap_or(i64::MAX);
        self.is_ours = is_ours;
    }

    /// Records that the marker was written by a foreign process.
    fn found_other(&mut self, revision: i64) {
        if self.is_ours {
            tracing::error!(revision, "another process commits as this node: names of nodes have to differ");
        }
        self.marker_revision = revision;
        self.is_ours = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Change;
    use crate::catalog::etcd::EtcdCatalog;
    use crate::catalog::etcd::tests::{Cluster, Node, TIME_MAX, is_installed};

    fn lost() -> Fault {
        Fault::Silent { endpoint: "a member".to_owned() }
    }

    /// Returns a commit that puts `key`, as sent, and the commit's id.
    fn begin(catalog: &EtcdCatalog, turn: &mut Turn, key: &str) -> (Transaction, TxnRequest, String) {
        let changes = vec![Change::Put(key.to_owned(), b"1".as_slice().into())];
        let commit = Commit { checks: Vec::new(), changes };
        let transaction = Transaction::new(&catalog.client, &catalog.committer.marker, commit, 0, 0).unwrap();
        let id = turn.next_id(&catalog.committer.process);
        let request = transaction.request(turn.marker_revision, &id);
        (transaction, request, id)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_whose_request_comes_behind_the_fence_is_never_made() {
        if !is_installed() {
            return;
        }
        let cluster = Cluster::start(1, &[]);
        let node = Node::start(&cluster, "a").await;
        let catalog = &node.catalog;
        let until = Instant::now() + TIME_MAX;
        catalog.commit(Commit::default()).await.unwrap();
        let mut turn = catalog.committer.turn(until).await.unwrap();
        let before = turn.marker_revision;
        let (transaction, request, id) = begin(catalog, &mut turn, "x");
        let outcome = catalog.committer.outcome(&id, &lost(), &mut turn, until).await.unwrap();
        assert!(matches!(outcome, Outcome::NotMade));
        let answer = catalog.client.read::<Txn>(&request, until).await.unwrap();
        assert!(matches!(transaction.read(answer, before).unwrap(), Answer::OtherMarker(_)));
        catalog.refresh().await.unwrap();
        assert!(catalog.get("x").await.unwrap().is_none());
        drop(turn);
        catalog.commit(Commit::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_that_was_made_and_whose_answer_is_lost_is_found_by_its_marker() {
        if !is_installed() {
            return;
        }
        let cluster = Cluster::start(1, &[]);
        let node = Node::start(&cluster, "a").await;
        let catalog = &node.catalog;
        let until = Instant::now() + TIME_MAX;
        let mut turn = catalog.committer.turn(until).await.unwrap();
        // With a fence, and only by reads if etcd has no space for a fence.
        for (key, fault) in [("x", lost()), ("y", Fault::NoSpace)] {
            let (_, request, id) = begin(catalog, &mut turn, key);
            catalog.client.read::<Txn>(&request, until).await.unwrap();
            let outcome = catalog.committer.outcome(&id, &fault, &mut turn, until).await.unwrap();
            let Outcome::Made(revision) = outcome else { panic!("{key} was made") };
            assert!(catalog.wait_for(revision, TIME_MAX).await);
            assert_eq!(catalog.get(key).await.unwrap().unwrap().revision, revision);
        }
        let (_, _, id) = begin(catalog, &mut turn, "z");
        let outcome = catalog.committer.outcome(&id, &Fault::NoSpace, &mut turn, until).await.unwrap();
        assert!(matches!(outcome, Outcome::NotMade));
        drop(turn);
        catalog.commit(Commit::default()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_outcome_that_another_process_of_this_name_wrote_over_is_said_to_be_unknown() {
        if !is_installed() {
            return;
        }
        let cluster = Cluster::start(1, &[]);
        let (node, other) = (Node::start(&cluster, "same").await, Node::start(&cluster, "same").await);
        let catalog = &node.catalog;
        let until = Instant::now() + TIME_MAX;
        let mut turn = catalog.committer.turn(until).await.unwrap();
        let (_, _, id) = begin(catalog, &mut turn, "x");
        other.catalog.commit(Commit::default()).await.unwrap();
        let outcome = catalog.committer.outcome(&id, &lost(), &mut turn, until).await;
        assert!(matches!(outcome, Err(Error::Undecided { .. })));
        drop(turn);
        catalog.commit(Commit::default()).await.unwrap();
    }
}
