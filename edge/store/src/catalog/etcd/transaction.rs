//! A commit as a transaction of etcd, and the meaning of the answer.
//!
//! The transaction compares the checked keys and the marker of this node, and also writes the marker. So an empty
//! commit has a revision, and the outcome of a commit can be found out after a lost answer (`outcome`).

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;

use super::client::{Client, newest};
use super::fault::Fault;
use super::wire::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp,
    Response, ResponseOp, TargetUnion, TxnRequest, TxnResponse,
};
use crate::catalog::{COMMIT_CHANGES_MAX, Change, Check, Commit, Error, Revision};

/// Upper bound of checks and of changes in a commit: all but two of the operations that etcd takes by default
/// (`--max-txn-ops`), since a failed commit reads each checked key, the marker, and the last commit.
pub(super) const COMMIT_OPERATIONS_MAX: usize = COMMIT_CHANGES_MAX;
/// Bytes of a request by etcd's default (`--max-request-bytes`), less the bytes that etcd adds.
pub(super) const REQUEST_BYTES_MAX: usize = 1_572_864 - 4_096;

/// A commit, ready to be sent once the marker's revision is known.
pub(super) struct Transaction {
    checks: Checks,
    compares: Vec<Compare>,
    changes: Vec<RequestOp>,
    reads: Vec<RequestOp>,
    marker: Bytes,
}

/// The comparison of the checks of a commit.
enum Checks {
    /// A comparison for each check.
    Each(Vec<Check>),
    /// The checks held in a comparison with the mirror, and no commit may follow that comparison. Used for more checks
    /// than etcd compares in one request; a failure names the first check.
    Mirrored(Check),
}

/// The result of a transaction.
pub(super) enum Answer {
    /// The commit was made.
    Made(Revision),
    /// A check did not hold.
    Conflict {
        /// The first failed check.
        check: Check,
        /// The last commit that won against this commit.
        seen: Revision,
    },
    /// The marker has a different revision; no record was changed.
    OtherMarker(i64),
}

impl Transaction {
    /// Returns the transaction of a commit with puts that depend on `lease`, 0 for none.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(super) fn new(
        client: &Client,
        marker: &Bytes,
        commit: Commit,
        lease: i64,
        mirrored: Revision,
    ) -> Result<Self, Error> {
        let count = commit.changes.len();
        if count > COMMIT_OPERATIONS_MAX {
            let reason = format!("it has {count} changes, and etcd takes {COMMIT_OPERATIONS_MAX} at once");
            return Err(Error::TooLarge { reason });
        }
        let mut compares = Vec::with_capacity(commit.checks.len().saturating_add(1));
        let mut reads = Vec::with_capacity(commit.checks.len().saturating_add(2));
        let checks = match commit.checks.first() {
            Some(first) if commit.checks.len() > COMMIT_OPERATIONS_MAX => Checks::Mirrored(first.clone()),
            _ => Checks::Each(commit.checks),
        };
        if let Checks::Mirrored(_) = &checks {
            compares.push(none_after(client, mirrored));
        }
        for check in checks.each() {
            let (key, revision) = match check {
                Check::Absent(key) => (client.keys.record(key), 0),
                // A revision that etcd cannot have belongs to no record.
                Check::At(key, revision) => (client.keys.record(key), i64::try_from(*revision).unwrap_or(i64::MAX)),
            };
            compares.push(at(key.clone(), revision));
            // Revisions of these and of the marker are enough: together the values may be too long for an answer.
            reads.push(read(key, true));
        }
        reads.push(read(marker.clone(), true));
        reads.push(operation(Request::Range(client.last_marker())));
        let transaction = Self {
            checks,
            compares,
            changes: operations(client, commit.changes, lease),
            reads,
            marker: marker.clone(),
        };
        let length = transaction.request(0, "").encoded_len();
        if length > REQUEST_BYTES_MAX {
            let reason = format!("it has {length} bytes, and etcd takes {REQUEST_BYTES_MAX} at once");
            return Err(Error::TooLarge { reason });
        }
        Ok(transaction)
    }

    /// Returns true if the checks were compared with the mirror.
    pub(super) const fn is_mirrored(&self) -> bool {
        matches!(self.checks, Checks::Mirrored(_))
    }

    /// Returns the request that is carried out only while the marker is at `marker_revision`, and writes `id` there.
    pub(super) fn request(&self, marker_revision: i64, id: &str) -> TxnRequest {
        let mut compare = self.compares.clone();
        compare.push(at(self.marker.clone(), marker_revision));
        let mut success = self.changes.clone();
        success.push(put(self.marker.clone(), Bytes::copy_from_slice(id.as_bytes()), 0));
        TxnRequest { compare, success, failure: self.reads.clone() }
    }

    /// Reads the answer to [`Transaction::request`].
    pub(super) fn read(&self, answer: TxnResponse, marker_revision: i64) -> Result<Answer, Fault> {
        let malformed = || Fault::Malformed { endpoint: "etcd".to_owned(), reason: "no answer to a commit".to_owned() };
        if answer.succeeded {
            let header = answer.header.ok_or_else(malformed)?;
            return Ok(Answer::Made(Revision::try_from(header.revision).map_err(|_error| malformed())?));
        }
        let mut found = answer.responses.into_iter().map(range_of);
        let mut seen = 0;
        let mut failed = None;
        for check in self.checks.each() {
            let kvs = found.next().flatten().ok_or_else(malformed)?;
            seen = seen.max(newest(&kvs));
            let revision = kvs.first().and_then(|kv| Revision::try_from(kv.mod_revision).ok());
            if failed.is_none() && !holds(check, revision) {
                failed = Some(check.clone());
            }
        }
        let marker = found.next().flatten().ok_or_else(malformed)?;
        let marker = marker.first().map_or(0, |kv| kv.mod_revision);
        seen = seen.max(newest(&found.next().flatten().ok_or_else(malformed)?));
        match (failed, &self.checks) {
            (Some(check), _) => Ok(Answer::Conflict { check, seen }),
            (None, _) if marker != marker_revision => Ok(Answer::OtherMarker(marker)),
            (None, Checks::Mirrored(first)) => Ok(Answer::Conflict { check: first.clone(), seen }),
            (None, Checks::Each(_)) => Err(malformed()),
        }
    }
}

impl Checks {
    /// Returns the checks with a comparison of their own.
    fn each(&self) -> &[Check] {
        match self {
            Self::Each(checks) => checks,
            Self::Mirrored(_) => &[],
        }
    }
}

/// Returns true if a check holds for a record with `revision`.
pub(super) fn holds(check: &Check, revision: Option<Revision>) -> bool {
    match check {
        Check::Absent(_) => revision.is_none(),
        Check::At(_, expected) => revision == Some(*expected),
    }
}

/// Returns the last change of each key, since etcd accepts each key only once.
fn operations(client: &Client, changes: Vec<Change>, lease: i64) -> Vec<RequestOp> {
    let mut last: BTreeMap<String, Option<Bytes>> = BTreeMap::new();
    for change in changes {
        match change {
            Change::Delete(key) => last.insert(key, None),
            Change::Put(key, value) => last.insert(key, Some(Bytes::copy_from_slice(&value))),
        };
    }
    let operation_of = |(key, value): (String, Option<Bytes>)| {
        let key = client.keys.record(&key);
        match value {
            None => operation(Request::DeleteRange(DeleteRangeRequest { key })),
            Some(value) => put(key, value, lease),
        }
    };
    last.into_iter().map(operation_of).collect()
}

const fn operation(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(super) fn put(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    operation(Request::Put(PutRequest { key, value, lease }))
}

pub(super) fn read(key: Bytes, keys_only: bool) -> RequestOp {
    operation(Request::Range(RangeRequest { key, keys_only, ..RangeRequest::default() }))
}

/// Compares the revision of a key's last change with `revision`; 0 for a missing key.
pub(super) fn at(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(revision)),
        range_end: Bytes::new(),
    }
}

/// Compares that no node has committed after `revision`.
fn none_after(client: &Client, revision: Revision) -> Compare {
    let (key, range_end) = client.keys.markers();
    let next = i64::try_from(revision.saturating_add(1)).unwrap_or(i64::MAX);
    Compare {
        result: CompareResult::Less.into(),
        target: CompareTarget::Mod.into(),
        key,
        target_union: Some(TargetUnion::ModRevision(next)),
        range_end,
    }
}

pub(super) fn range_of(response: ResponseOp) -> Option<Vec<KeyValue>> {
    match response.response {
        Some(Response::Range(range)) => Some(range.kvs),
        Some(Response::Put(_) | Response::DeleteRange(_)) | None => None,
    }
}
