//! Copy of a store: the copied records, and the marker of an unfinished copy, which prevents edges from serving the
//! copy and other stores from being copied over the copy.

use devanture_config::problem::{Code, Problem};
use serde::{Deserialize, Serialize};

use super::Error;
use super::system_write::{SystemWrite, commit_system};
use devanture_base::clock;
use devanture_store::catalog::{self, Catalog, Change, Check, Commit, Record};
use devanture_store::records;
use devanture_store::records::nodes::NODES_PREFIX;
use devanture_store::records::table::kind_of;

/// Key of the copy's marker.
const COPY_KEY: &str = "copy";
/// Milliseconds before the source resumes during which no edge accepts the copy: clocks of machines differ.
const CLOCKS_APART_MS: u64 = 2_000;

/// `copy`: marks the surrounding records as a copy. The first start of an edge deletes the marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CopyRecord {
    /// Copied store, for display.
    from: String,
    /// Start of the copy, in milliseconds since 1970 UTC.
    began_ms: u64,
    /// Completion, once all is copied; `None` until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished: Option<Finished>,
}

/// Completion of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Finished {
    /// Time, in milliseconds since 1970 UTC.
    at_ms: u64,
    /// Time at which the source accepts changes again, unless its edges are stopped before; `None` without running
    /// edges.
    resumes_ms: Option<u64>,
}

/// Reason why no edge may start over a store.
#[derive(Debug, thiserror::Error)]
pub enum NotCopied {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The source accepted changes again before its edges were stopped, as far as known.
    #[error(
        "this is a copy of {from}, which takes changes again by now: run `devanture-edge copy --finish` again, then start \
         this edge. It takes a moment where {from} was stopped in time"
    )]
    Late {
        /// Copied store.
        from: String,
    },
    /// The copy is incomplete.
    #[error("this is an unfinished copy of {from}: finish it by `devanture-edge copy --finish`, then start this edge")]
    Unfinished {
        /// Store being copied.
        from: String,
    },
}

/// Returns true for records included in a copy.
pub(crate) fn is_copied(key: &str) -> bool {
    kind_of(key).is_none_or(|kind| kind.row().in_copies)
}

async fn copy_record(catalog: &dyn Catalog) -> Result<Option<(Record, CopyRecord)>, catalog::Error> {
    let Some(record) = catalog.get(COPY_KEY).await? else { return Ok(None) };
    let read = records::read(COPY_KEY, &record)?;
    Ok(Some((record, read)))
}

/// Begins or resumes a copy of the store `from` into `catalog`. From here on no edge starts over the catalog.
///
/// # Errors
/// `bad_request` if edges run on the catalog, or the catalog holds anything but an earlier part of the same copy.
pub async fn begin_copy(catalog: &dyn Catalog, from: &str) -> Result<(), Error> {
    catalog.refresh().await?;
    if let Some((key, _)) = catalog.list(NODES_PREFIX, None, false, 1).await?.first() {
        let node = key.trim_start_matches(NODES_PREFIX);
        return Err(bad(format!("The node {node} runs on the store to copy to."), "stop every node of it first"));
    }
    let found = copy_record(catalog).await?;
    let began_ms = match &found {
        Some((_, record)) if record.from != from => {
            let detail = format!("The store to copy to holds a copy of {}.", record.from);
            return Err(bad(detail, "name another data folder or prefix, or empty this one first"));
        }
        Some((_, record)) => record.began_ms,
        None => {
            check_empty(catalog).await?;
            clock::now_ms()
        }
    };
    let record = CopyRecord { from: from.to_owned(), began_ms, finished: None };
    put(catalog, &record, found.map(|(record, _)| record.revision)).await
}

/// Checks that the source is not itself an unfinished copy.
///
/// # Errors
/// `bad_request`.
pub async fn check_finished(catalog: &dyn Catalog) -> Result<(), Error> {
    match copy_record(catalog).await? {
        Some((_, CopyRecord { from, finished: None, .. })) => {
            Err(bad(format!("The store to copy is an unfinished copy of {from} itself."), "copy that one"))
        }
        _ => Ok(()),
    }
}

/// Checks that a copy would replace no record of the catalog.
async fn check_empty(catalog: &dyn Catalog) -> Result<(), Error> {
    let mut records = catalog::scan::Scan::new(catalog, "");
    while let Some((key, _)) = records.next().await? {
        if is_copied(&key) {
            let detail = format!("The store to copy to holds other records, such as {key}.");
            return Err(bad(detail, "name a data folder or a prefix that no edge has used yet"));
        }
    }
    Ok(())
}

async fn put(catalog: &dyn Catalog, record: &CopyRecord, revision: Option<u64>) -> Result<(), Error> {
    let checks = vec![Check::of(COPY_KEY, revision)];
    let changes = vec![Change::Put(COPY_KEY.to_owned(), records::write(record)?)];
    commit_system(catalog, SystemWrite::Copy, Commit { checks, changes }).await?;
    Ok(())
}

/// Records the completion of a copy, and the time at which the source accepts changes again.
///
/// # Errors
/// Errors of the catalog; `conflict` for a concurrent copy.
pub async fn finish_copy(catalog: &dyn Catalog, resumes_ms: Option<u64>) -> Result<(), Error> {
    let Some((found, mut record)) = copy_record(catalog).await? else {
        return Err(bad("An edge has taken the copy.", "stop it, and begin again with an empty store"));
    };
    record.finished = Some(Finished { at_ms: clock::now_ms(), resumes_ms });
    put(catalog, &record, Some(found.revision)).await
}

/// Accepts a copy before the first start of an edge. No effect without a copy.
///
/// # Errors
/// [`NotCopied`]: no edge may start over the store.
pub async fn take_copied(catalog: &dyn Catalog) -> Result<(), NotCopied> {
    let Some((found, record)) = copy_record(catalog).await? else { return Ok(()) };
    let from = record.from;
    let Some(Finished { resumes_ms, .. }) = record.finished else { return Err(NotCopied::Unfinished { from }) };
    if resumes_ms.is_some_and(|resumes_ms| resumes_ms <= clock::now_ms().saturating_add(CLOCKS_APART_MS)) {
        return Err(NotCopied::Late { from });
    }
    tracing::info!(from, "this edge begins with a copy");
    let checks = vec![Check::At(COPY_KEY.to_owned(), found.revision)];
    let changes = vec![Change::Delete(COPY_KEY.to_owned())];
    match commit_system(catalog, SystemWrite::Copy, Commit { checks, changes }).await {
        // Another node won the race.
        Ok(_) | Err(catalog::Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes copied records in one commit.
///
/// # Errors
/// As [`Catalog::commit`].
pub(crate) async fn write_copied(catalog: &dyn Catalog, changes: Vec<Change>) -> Result<(), catalog::Error> {
    commit_system(catalog, SystemWrite::Copy, Commit { checks: Vec::new(), changes }).await.map(drop)
}

fn bad(detail: impl Into<String>, hint: &str) -> Error {
    Problem::new(Code::BadRequest, detail).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::write_pause::PAUSE_KEY;
    use devanture_store::catalog::open;
    use devanture_store::catalog::overtaken::Overtaken;
    use devanture_store::records::golden;

    fn new() -> (tempfile::TempDir, Arc<dyn Catalog>) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        (folder, catalog)
    }

    #[test]
    fn a_copy_is_stored_as_it_was() {
        let finished = Some(Finished { at_ms: 2, resumes_ms: Some(3) });
        golden::check("copy", &CopyRecord { from: "the catalog of edge-1".to_owned(), began_ms: 1, finished });
    }

    #[tokio::test]
    async fn an_edge_takes_a_copy_once_it_is_finished_and_before_its_source_goes_on() {
        let (_folder, catalog) = new();
        take_copied(&*catalog).await.unwrap();
        begin_copy(&*catalog, "a").await.unwrap();
        assert!(matches!(take_copied(&*catalog).await, Err(NotCopied::Unfinished { from }) if from == "a"));
        finish_copy(&*catalog, Some(1)).await.unwrap();
        assert!(matches!(take_copied(&*catalog).await, Err(NotCopied::Late { from }) if from == "a"));
        // So close to the end of the pause that a slightly slow clock would miss the end.
        begin_copy(&*catalog, "a").await.unwrap();
        finish_copy(&*catalog, Some(clock::now_ms() + CLOCKS_APART_MS / 2)).await.unwrap();
        assert!(matches!(take_copied(&*catalog).await, Err(NotCopied::Late { .. })));
        // A copy begun again is unfinished again.
        begin_copy(&*catalog, "a").await.unwrap();
        assert!(matches!(take_copied(&*catalog).await, Err(NotCopied::Unfinished { .. })));
        finish_copy(&*catalog, None).await.unwrap();
        take_copied(&*catalog).await.unwrap();
        assert!(catalog.list("", None, false, 1).await.unwrap().is_empty());
    }

    #[test]
    fn a_copy_has_no_proof_that_lasts_as_long_as_the_duty_to_order_does() {
        for (key, expected) in [
            ("acme/a.example-1/proofs/shop.example", false),
            ("acme/a.example-1/certificates/shop.example", true),
            ("acme/a.example-1/certificates/proofs/x", true),
            ("acme/a.example-1/account", true),
            ("apps/proofs/x", true),
            ("nodes/edge-1", false),
            ("duties/schedule/shop/prod/digest", false),
            ("sent/shop/1/0000000000000001", false),
            (COPY_KEY, false),
            (PAUSE_KEY, false),
            ("of-a-later-release/x", true),
        ] {
            assert_eq!(is_copied(key), expected, "{key}");
        }
    }

    #[tokio::test]
    async fn nothing_is_copied_over_other_records() {
        let (_folder, catalog) = new();
        begin_copy(&*catalog, "a").await.unwrap();
        let other = begin_copy(&*catalog, "b").await.unwrap_err();
        assert!(other.to_string().contains("a copy of a"), "{other}");
        let (_folder, catalog) = new();
        let put = |key: &str| vec![Change::Put(key.to_owned(), b"{}".as_slice().into())];
        write_copied(&*catalog, put("nodes/edge-1")).await.unwrap();
        let running = begin_copy(&*catalog, "a").await.unwrap_err();
        assert!(running.to_string().contains("edge-1"), "{running}");
        let (_folder, catalog) = new();
        write_copied(&*catalog, put("duties/collection")).await.unwrap();
        begin_copy(&*catalog, "a").await.unwrap();
        let (_folder, catalog) = new();
        write_copied(&*catalog, put("tokens/1")).await.unwrap();
        let used = begin_copy(&*catalog, "a").await.unwrap_err();
        assert!(used.to_string().contains("tokens/1"), "{used}");
    }

    #[tokio::test]
    async fn an_unfinished_copy_is_not_copied_on() {
        let (_folder, catalog) = new();
        check_finished(&*catalog).await.unwrap();
        begin_copy(&*catalog, "a").await.unwrap();
        let unfinished = check_finished(&*catalog).await.unwrap_err();
        assert!(unfinished.to_string().contains("unfinished copy of a"), "{unfinished}");
        finish_copy(&*catalog, None).await.unwrap();
        check_finished(&*catalog).await.unwrap();
    }

    #[tokio::test]
    async fn of_two_who_write_one_copy_at_once_one_fails() {
        let (_folder, stored) = new();
        let catalog = Overtaken::new(Arc::clone(&stored));
        begin_copy(&*catalog, "a").await.unwrap();
        let other = CopyRecord { from: "a".to_owned(), began_ms: 7, finished: None };
        let other = Change::Put(COPY_KEY.to_owned(), records::write(&other).unwrap());
        catalog.before_commit_of(COPY_KEY, vec![other]);
        let second = finish_copy(&*catalog, None).await.unwrap_err();
        catalog.assert_overtaken();
        assert_eq!(second.0.code, Code::Conflict);
        assert!(matches!(take_copied(&*stored).await, Err(NotCopied::Unfinished { .. })));
    }
}
