//! Hands the catalog's file over to the next process, and reads from a copy until this process ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _};

use super::file::{
    CatalogFile, META, META_REVISION, RECORDS, cached, decoded, durable_error, encoded, revision_in, store_error,
    take_lock, unreadable,
};
use super::header::Header;
use super::storage::{Seal, SealedFile};
use crate::catalog::{Change, Committed, Error};
use devanture_base::durable;

impl CatalogFile {
    /// Returns true if the file is handed over to a new process.
    pub(super) fn is_handed_over(&self) -> bool {
        self.lock.lock().is_none()
    }

    /// Closes the file and releases the lock. Reads go on from a copy, which has no name and vanishes with this
    /// process. Must not run concurrently with a commit.
    pub(super) fn hand_over(&self) -> Result<(), Error> {
        // Changes that are only in memory would be lost.
        self.return_to_file()?;
        let mut database = self.database.write();
        self.check_in_place()?;
        // The next process takes the readable state for the state of the disk.
        self.write_again()?;
        // Closed first: an open file is not whole without the memory of the database.
        drop(database.take());
        match self.copy() {
            Ok(copy) => {
                *database = Some(copy);
                *self.lock.lock() = None;
                Ok(())
            }
            Err(error) => {
                // The error was reported; reads go on in any case.
                drop(self.open_into(&mut database));
                Err(error)
            }
        }
    }

    fn copy(&self) -> Result<Database, Error> {
        let path = self.path.with_extension("handed");
        let opened =
            durable::copy_for_reading(&self.path, &path).map_err(|error| durable_error(&error)).and_then(|()| {
                let header = Header::open(&path).map_err(unreadable(&path))?;
                let file = SealedFile::open(&path, Seal::default(), Arc::new(header));
                file.and_then(|file| cached().create_with_backend(file)).map_err(|error| store_error(error.into()))
            });
        durable::remove_file(&path).ok();
        opened
    }

    /// Takes the file back from an ended process. Returns the process' commits that [`CatalogFile::follow`] has not
    /// received, as one commit.
    pub(super) fn take_back(&self) -> Result<Option<Committed>, Error> {
        let lock = take_lock(&self.path)?;
        let mut database = self.database.write();
        let opened = self.reopened().map_err(|error| store_error(error.into()))?;
        let missed = match database.as_ref() {
            Some(copy) => missed(copy, &opened).map_err(store_error)?,
            None => None,
        };
        *database = Some(opened);
        self.unwritten.store(false, Ordering::Release);
        *self.lock.lock() = Some(lock);
        Ok(missed)
    }

    /// Writes a commit of the new process to the copy.
    pub(super) fn follow(&self, committed: &Committed) -> Result<(), Error> {
        if !self.is_handed_over() {
            return Ok(());
        }
        let written = self.with(|database| write(database, committed));
        written.unwrap_or(Err(redb::Error::DatabaseClosed)).map_err(store_error)
    }
}

/// Returns the commits of `file` beyond `copy`, as one; reads both to the end.
fn missed(copy: &Database, file: &Database) -> Result<Option<Committed>, redb::Error> {
    let (copy, file) = (copy.begin_read()?, file.begin_read()?);
    let (known, revision) = (revision_in(&copy)?, revision_in(&file)?);
    if revision <= known {
        return Ok(None);
    }
    let (copied, records) = (copy.open_table(RECORDS)?, file.open_table(RECORDS)?);
    let mut changes = Vec::new();
    for entry in copied.iter()? {
        let (key, _) = entry?;
        if records.get(key.value())?.is_none() {
            changes.push(Change::Delete(key.value().to_owned()));
        }
    }
    for entry in records.iter()? {
        let (key, value) = entry?;
        let record = decoded(key.value(), value.value())?;
        if record.revision > known {
            changes.push(Change::Put(key.value().to_owned(), record.value));
        }
    }
    Ok(Some(Committed { revision, changes: changes.into() }))
}

fn write(database: &Database, committed: &Committed) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // The copy is not used after this process.
    transaction.set_durability(Durability::None)?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for change in committed.changes.iter() {
            match change {
                Change::Delete(key) => drop(records.remove(key.as_str())?),
                Change::Put(key, value) => {
                    drop(records.insert(key.as_str(), encoded(committed.revision, value).as_slice())?);
                }
            }
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_REVISION, committed.revision)?;
    }
    transaction.commit()?;
    Ok(())
}
