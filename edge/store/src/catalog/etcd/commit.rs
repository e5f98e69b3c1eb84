//! Makes commits, one after the other, each with an outcome that is certain.
//!
//! An answer can be lost when etcd has made the commit, and a request can wait in a member that is stopped and be
//! carried out long afterwards. So a commit is carried out only while this node's marker has the revision that the node
//! knows, and changes it. After a lost answer another transaction, on the same condition, puts a fence into the marker:
//! either it succeeds, and the lost commit can never be made any more; or the marker shows that the commit was made,
//! and when.

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

/// Longest time until a commit is sent, or sent again, its wait for those before it included. An election of a leader
/// takes one to two seconds.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest time beyond that to find out what became of a commit.
const OUTCOME_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the mirror after a commit.
const MIRROR_TIME_MAX: Duration = Duration::from_secs(5);

/// Commits of this node.
pub(super) struct Committer {
    client: Arc<Client>,
    mirror: Arc<RedbCatalog>,
    progress: Arc<Progress>,
    /// The key of the marker of this node.
    marker: Bytes,
    /// Differs in each process, so that none takes the marker of another for its own.
    process: String,
    /// Whose turn it is to commit.
    turn: Arc<Mutex<Turn>>,
}

/// What the committing call knows of the marker.
#[derive(Default)]
struct Turn {
    /// The revision of its last change; 0 before the first.
    marker_revision: i64,
    /// Whether this process wrote it.
    is_ours: bool,
    /// Ids given so far.
    ids: u64,
}

/// What became of a commit whose answer was lost.
enum Outcome {
    Made(Revision),
    /// It was not made and never will be.
    NotMade,
}

impl Committer {
    pub(super) fn new(client: Arc<Client>, mirror: Arc<RedbCatalog>, progress: Arc<Progress>, node: &str) -> Self {
        let marker = client.keys.marker(node);
        let process = format!("{:032x}", rand::random::<u128>());
        Self { client, mirror, progress, marker, process, turn: Arc::default() }
    }

    /// Makes a commit. Has to run to its end: what it knows of the marker is lost otherwise.
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
            // It may have been handed over meanwhile.
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
                // Which of them does not hold, if any, is seen by the next attempt.
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

    /// Compares checks with the mirror where they are more than etcd compares at once, and gives the revision at which
    /// they held, or the key of one that did not.
    async fn check_here(&self, checks: &[Check]) -> Result<Result<Revision, String>, Error> {
        // Before they are read: what is committed in between is found to be too new.
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

    /// Waits for the commits before this one, and keeps others out until it is dropped.
    pub(super) async fn pause(&self) -> Result<impl Drop + use<>, Error> {
        self.turn(Instant::now() + COMMIT_TIME_MAX + OUTCOME_TIME_MAX).await
    }

    async fn turn(&self, until: Instant) -> Result<OwnedMutexGuard<Turn>, Error> {
        let late = |_late| Error::Unavailable { reason: "commits before this one still wait for it".to_owned() };
        timeout_at(until, Arc::clone(&self.turn).lock_owned()).await.map_err(late)
    }

    /// Sends the commit until its outcome is certain. `Err` is the check that did not hold.
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

    /// Finds out what became of the commit `id`, whose answer is `fault`.
    async fn outcome(&self, id: &str, fault: &Fault, turn: &mut Turn, until: Instant) -> Result<Outcome, Error> {
        tracing::warn!(%fault, "what became of a commit is found out by its marker");
        let undecided = |reason: String| Error::Undecided { reason };
        // Without space nothing can be put. Such an answer comes when the commit was refused or made: none is on its
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
                    // Whatever the marker shows later on can be of this commit.
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
        // An earlier attempt to put the fence there, whose answer was lost; or, where there was none, no change at all.
        let is_fenced = fence.is_some_and(|fence| value.as_ref() == fence.as_bytes());
        if is_fenced || revision == turn.marker_revision {
            turn.marker_revision = revision;
            return Ok(Outcome::NotMade);
        }
        // Another process has written over what would have shown it: two nodes have one name.
        turn.found_other(revision);
        Err(undecided("another process commits as this node".to_owned()))
    }

    /// Puts a fence into the marker if it is at `revision`, and returns its new revision; else what the marker holds.
    /// Without a fence it is read only.
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

    /// Waits until the mirror shows why a commit was refused, so that its caller reads what it lost against.
    async fn wait_for_loss(&self, check: &Check, seen: Revision) -> Result<(), Error> {
        let until = Instant::now() + MIRROR_TIME_MAX;
        let (Check::Absent(key) | Check::At(key, _)) = check;
        let mut changes = self.progress.changes();
        self.progress.reached(seen, until).await;
        loop {
            changes.mark_unchanged();
            let found = self.mirror.get(key).await?;
            // A record that vanished with its lease was deleted by no commit, and has to be waited for by itself.
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
    /// An id for what is written to the marker.
    fn next_id(&mut self, process: &str) -> String {
        self.ids = self.ids.wrapping_add(1);
        format!("{process} {}", self.ids)
    }

    fn found(&mut self, revision: Revision, is_ours: bool) {
        self.marker_revision = i64::try_from(revision).unwrap_or(i64::MAX);
        self.is_ours = is_ours;
    }

    /// Takes note of a marker that this process did not write.
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

    /// A commit that puts `key`, as it is sent; and its id.
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
        // With a fence, and by reading alone where etcd has no space for one.
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
