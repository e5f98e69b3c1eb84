//! Copies the records of one moment into a new file, while commits go on.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::file::{CatalogFile, META, META_REVISION, RECORDS, create, store_error};
use crate::catalog::{Error, Revision};
use devanture_base::durable;

impl CatalogFile {
    /// Creates a catalog in `path`, which must not exist, with the current records; see the trait.
    pub(super) fn copy_to(&self, path: &Path, left_out: &[&str]) -> Result<Revision, Error> {
        if path.exists() {
            return Err(Error::Store(format!("{} is there already", path.display())));
        }
        create(path)?;
        let copied = Self::open(path).and_then(|copy| {
            let written = self.with(|from| copy.with(|to| copy_all(from, to, left_out)));
            written.flatten().unwrap_or(Err(redb::Error::DatabaseClosed)).map_err(store_error)
        });
        // Only the copying process had the file open.
        drop(durable::remove_file(&path.with_extension("lock")));
        if copied.is_err() {
            drop(durable::remove_file(path));
        }
        copied
    }
}

fn copy_all(from: &Database, to: &Database, left_out: &[&str]) -> Result<Revision, redb::Error> {
    let reading = from.begin_read()?;
    let meta = reading.open_table(META)?;
    let revision = meta.get(META_REVISION)?.map_or(0, |value| value.value());
    let writing = to.begin_write()?;
    {
        let mut records = writing.open_table(RECORDS)?;
        for entry in reading.open_table(RECORDS)?.iter()? {
            let (key, value) = entry?;
            if !left_out.iter().any(|prefix| key.value().starts_with(prefix)) {
                records.insert(key.value(), value.value())?;
            }
        }
        let mut meta = writing.open_table(META)?;
        meta.insert(META_REVISION, revision)?;
    }
    writing.commit()?;
    Ok(revision)
}

#[cfg(test)]
mod tests {
    use crate::catalog::{Change, Commit, Error, open};

    #[tokio::test]
    async fn a_copy_has_what_is_not_left_out_and_takes_the_place_of_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = open(&folder.path().join("catalog.redb")).unwrap();
        for key in ["kept/1", "left/1", "kept/2"] {
            let changes = vec![Change::Put(key.to_owned(), key.as_bytes().into())];
            catalog.commit(Commit { checks: Vec::new(), changes }).await.unwrap();
        }
        let path = folder.path().join("copy.redb");
        let revision = catalog.copy_to(&path, &["left/"]).await.unwrap();
        assert_eq!(revision, catalog.state().revision);
        assert!(!path.with_extension("lock").exists(), "nothing of an edge lies beside it");
        let kept = catalog.list("kept/", None, false, 9).await.unwrap();
        let copied = async || {
            let copy = open(&path).unwrap();
            assert_eq!(copy.state().revision, revision);
            copy.list("", None, false, 9).await.unwrap()
        };
        assert_eq!(copied().await, kept);
        let again = catalog.copy_to(&path, &[]).await;
        assert!(matches!(again, Err(Error::Store(_))), "{again:?}");
        assert_eq!(copied().await, kept);
    }
}
