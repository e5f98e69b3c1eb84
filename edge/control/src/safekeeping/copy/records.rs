//! Copies records: both stores list their records in key order, and differences are written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::vec;

use async_trait::async_trait;

use super::super::layout::bad;
use crate::ledger::{Error, is_copied, write_copied};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Catalog, Change};
use devanture_store::records;

/// Changes per commit; etcd accepts 126.
const CHANGES_MAX: usize = 100;
/// Bytes per commit; etcd accepts 1.5 MiB.
const BYTES_MAX: usize = 1_024 * 1_024;

/// Record: key and value.
pub(crate) type Pair = (String, Arc<[u8]>);

/// Source of the records to copy.
#[async_trait]
pub trait RecordSource: Send + Sync {
    /// Returns the next records after the key `after`, in key order; empty at the end.
    async fn page(&self, after: Option<&str>) -> Result<Vec<Pair>, Error>;
}

/// Result of a comparison of all records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Copied records.
    pub records: u64,
    /// Missing or different records among these.
    pub written: u64,
    /// Records deleted in the target, absent from the source.
    pub removed: u64,
    /// Keys of records too large for the target; an edge makes the records again.
    pub left_out: BTreeSet<String>,
}

/// Makes the records of `target` equal to those of `source`. Concurrent changes of the source may be missing.
///
/// # Errors
/// Errors of both stores.
pub async fn copy_records(source: &dyn RecordSource, target: &dyn Catalog) -> Result<Copied, Error> {
    let mut batch = Batch { target, changes: Vec::new(), bytes: 0, left_out: BTreeSet::new() };
    let mut copied = Copied::default();
    let mut pairs = Pairs::of(source, target);
    while let Some(pair) = pairs.next().await? {
        copied.records = copied.records.saturating_add(u64::from(!matches!(pair, Difference::Surplus(_))));
        match pair {
            Difference::None => {}
            Difference::Missing((key, value)) => {
                copied.written = copied.written.saturating_add(1);
                batch.add(Change::Put(key, value)).await?;
            }
            Difference::Surplus(key) => {
                copied.removed = copied.removed.saturating_add(1);
                batch.add(Change::Delete(key)).await?;
            }
        }
    }
    batch.write().await?;
    copied.left_out = batch.left_out;
    Ok(copied)
}

/// Compares all records, except those of `left_out`. Returns their number, and the key of the first difference.
///
/// # Errors
/// Errors of both stores.
pub async fn compare_records(
    source: &dyn RecordSource,
    target: &dyn Catalog,
    left_out: &BTreeSet<String>,
) -> Result<(u64, Option<String>), Error> {
    let mut count: u64 = 0;
    let mut pairs = Pairs::of(source, target);
    while let Some(pair) = pairs.next().await? {
        count = count.saturating_add(1);
        match pair {
            Difference::None => {}
            Difference::Missing((key, _)) | Difference::Surplus(key) => {
                if !left_out.contains(&key) {
                    return Ok((count, Some(key)));
                }
            }
        }
    }
    Ok((count, None))
}

/// Difference of a key between the stores.
enum Difference {
    /// Equal.
    None,
    /// Missing in the target, or with another value.
    Missing(Pair),
    /// Only in the target.
    Surplus(String),
}

/// Both lists, merged.
struct Pairs<'p> {
    source: &'p dyn RecordSource,
    page: vec::IntoIter<Pair>,
    after: Option<String>,
    is_at_end: bool,
    target: Scan<'p>,
    theirs: Option<Pair>,
    ours: Option<Pair>,
    has_begun: bool,
}

impl<'p> Pairs<'p> {
    fn of(source: &'p dyn RecordSource, target: &'p dyn Catalog) -> Self {
        Self {
            source,
            page: Vec::new().into_iter(),
            after: None,
            is_at_end: false,
            target: Scan::new(target, ""),
            theirs: None,
            ours: None,
            has_begun: false,
        }
    }

    async fn next(&mut self) -> Result<Option<Difference>, Error> {
        if !self.has_begun {
            self.has_begun = true;
            self.theirs = self.next_theirs().await?;
            self.ours = self.next_ours().await?;
        }
        let order = match (&self.theirs, &self.ours) {
            (None, None) => return Ok(None),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((theirs, _)), Some((ours, _))) => theirs.as_bytes().cmp(ours.as_bytes()),
        };
        let (mut theirs, mut ours) = (None, None);
        if order.is_le() {
            let next = self.next_theirs().await?;
            theirs = std::mem::replace(&mut self.theirs, next);
        }
        if order.is_ge() {
            let next = self.next_ours().await?;
            ours = std::mem::replace(&mut self.ours, next);
        }
        Ok(match (theirs, ours) {
            (Some((_, theirs)), Some((_, ours))) if theirs == ours => Some(Difference::None),
            (Some(pair), _) => Some(Difference::Missing(pair)),
            (None, Some((key, _))) => Some(Difference::Surplus(key)),
            (None, None) => None,
        })
    }

    async fn next_theirs(&mut self) -> Result<Option<Pair>, Error> {
        loop {
            if let Some(pair) = self.page.next() {
                if is_copied(&pair.0) {
                    return Ok(Some(pair));
                }
                continue;
            }
            if self.is_at_end {
                return Ok(None);
            }
            let page = self.source.page(self.after.as_deref()).await?;
            match page.last() {
                Some((last, _)) => self.after = Some(last.clone()),
                None => self.is_at_end = true,
            }
            self.page = page.into_iter();
        }
    }

    async fn next_ours(&mut self) -> Result<Option<Pair>, Error> {
        while let Some((key, record)) = self.target.next().await? {
            if is_copied(&key) {
                return Ok(Some((key, record.value)));
            }
        }
        Ok(None)
    }
}

/// Changes of a commit.
struct Batch<'b> {
    target: &'b dyn Catalog,
    changes: Vec<Change>,
    bytes: usize,
    left_out: BTreeSet<String>,
}

impl Batch<'_> {
    async fn add(&mut self, change: Change) -> Result<(), Error> {
        let bytes = match &change {
            Change::Put(key, value) => key.len().saturating_add(value.len()),
            Change::Delete(key) => key.len(),
        };
        if self.changes.len() >= CHANGES_MAX || self.bytes.saturating_add(bytes) > BYTES_MAX {
            self.write().await?;
        }
        self.changes.push(change);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        if changes.is_empty() {
            return Ok(());
        }
        // A record too large for any commit is alone in its commit.
        let alone = match changes.as_slice() {
            [Change::Put(key, _)] => Some(key.clone()),
            _ => None,
        };
        match (write_copied(self.target, changes).await, alone) {
            (Ok(()), _) => Ok(()),
            (Err(catalog::Error::TooLarge { .. }), Some(key)) if key.starts_with(records::DICTIONARIES_PREFIX) => {
                self.left_out.insert(key);
                Ok(())
            }
            (Err(catalog::Error::TooLarge { reason }), Some(key)) => {
                let detail = format!("The store to copy to does not take the record {key}: {reason}.");
                Err(bad(detail, "remove what the record is of, or some of it: etcd takes 1.5 MiB in one record"))
            }
            (Err(error), _) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use devanture_store::catalog::open;

    /// A store with a given number of records per page.
    struct Source(BTreeMap<String, Arc<[u8]>>, usize);

    #[async_trait]
    impl RecordSource for Source {
        async fn page(&self, after: Option<&str>) -> Result<Vec<Pair>, Error> {
            let records = self.0.iter().map(|(key, value)| (key.clone(), Arc::clone(value)));
            Ok(records.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).take(self.1).collect())
        }
    }

    fn all(keys: &[(u8, u8)]) -> BTreeMap<String, Arc<[u8]>> {
        let key = |number: u8| match number {
            0 => "nodes/edge-1".to_owned(),
            1 => "copy".to_owned(),
            2 => "changes-paused".to_owned(),
            3 => "sent/shop/1/2".to_owned(),
            number => format!("tokens/{number}"),
        };
        keys.iter().map(|(number, value)| (key(*number), vec![*value].into())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_copy_has_what_its_source_has_and_nothing_that_is_of_nodes(
            source in prop::collection::vec((0..12_u8, 0..2_u8), 0..12),
            target in prop::collection::vec((4..12_u8, 0..2_u8), 0..12),
            page in 1..4_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let catalog = open(&folder.path().join("catalog.redb")).unwrap();
                let (source, target) = (Source(all(&source), page), all(&target));
                let earlier = target.iter().map(|(key, value)| Change::Put(key.clone(), Arc::clone(value)));
                write_copied(&*catalog, earlier.collect()).await.unwrap();
                let mut expected = source.0.clone();
                expected.retain(|key, _| key.starts_with("tokens/"));
                let is_same = expected == target;
                let differs = compare_records(&source, &*catalog, &BTreeSet::new()).await.unwrap().1;
                assert_eq!(differs.is_none(), is_same);
                let copied = copy_records(&source, &*catalog).await.unwrap();
                assert_eq!(copied.written > 0 || copied.removed > 0, !is_same);
                assert_eq!(copied.records, expected.len() as u64);
                let listed = catalog.list("", None, false, 100).await.unwrap();
                let found: BTreeMap<_, _> = listed.into_iter().map(|(key, record)| (key, record.value)).collect();
                assert_eq!(found, expected);
                let compared = compare_records(&source, &*catalog, &BTreeSet::new()).await.unwrap();
                assert_eq!(compared, (expected.len() as u64, None));
            });
        }
    }
}
