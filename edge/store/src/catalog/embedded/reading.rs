//! Reads of the catalog's file, by blocking calls.

use std::ops::Bound;

use redb::{ReadTransaction, ReadableDatabase as _};

use super::file::{CatalogFile, RECORDS, decoded, revision_in, store_error};
use crate::catalog::{Error, Record, Revision};

impl CatalogFile {
    /// Reads, and reads once more from the reopened file if the database fails. An unwritable file is not reopened:
    /// changes made meanwhile exist only in memory.
    pub(super) fn read<T>(&self, work: impl Fn(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let attempt = || self.with(|database| work(&database.begin_read()?));
        match attempt() {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) if self.is_unwritten() => return Err(read_error(error)),
            Some(Err(error)) if self.logged.reading.is_due() => {
                tracing::warn!(path = %self.path.display(), %error, "the catalog could not be read and is opened again");
            }
            Some(Err(_)) | None => {}
        }
        let opened = self.open_again();
        match (attempt(), opened) {
            (Some(read), _) => read.map_err(read_error),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(store_error(redb::Error::DatabaseClosed)),
        }
    }

    /// The record at `key`.
    pub(super) fn get(&self, key: &str) -> Result<Option<Record>, Error> {
        self.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let found = table.get(key)?;
            found.map(|value| decoded(key, value.value())).transpose()
        })
    }

    /// Returns the records at `keys`, all of one moment.
    pub(super) fn get_all(&self, keys: &[String]) -> Result<Vec<Option<Record>>, Error> {
        self.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let found = keys.iter().map(|key| {
                let found = table.get(key.as_str())?;
                found.map(|value| decoded(key, value.value())).transpose()
            });
            found.collect()
        })
    }

    /// Records by prefix; see the trait.
    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<(String, Record)>, Error> {
        let end = end_of_prefix(prefix);
        let (mut lower, mut upper) =
            (Bound::Included(prefix), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded));
        match after {
            Some(after) if newest_first => {
                if end.as_deref().is_none_or(|end| after < end) {
                    upper = Bound::Excluded(after);
                }
            }
            Some(after) if after >= prefix => lower = Bound::Excluded(after),
            Some(_) | None => {}
        }
        if is_empty(lower, upper) {
            return Ok(Vec::new());
        }
        self.read(|transaction| {
            let table = transaction.open_table(RECORDS)?;
            let mut range = table.range::<&str>((lower, upper))?;
            let mut found = Vec::new();
            while found.len() < limit {
                let next = if newest_first { range.next_back() } else { range.next() };
                let Some(entry) = next else { break };
                let (key, value) = entry?;
                found.push((key.value().to_owned(), decoded(key.value(), value.value())?));
            }
            Ok(found)
        })
    }

    /// The revision of the last commit.
    pub(super) fn revision(&self) -> Result<Revision, Error> {
        self.read(revision_in)
    }
}

/// Converts the error of a read, which does not tell that the disk cannot be written.
fn read_error(error: redb::Error) -> Error {
    match store_error(error) {
        Error::Unwritable { reason } => Error::Unreadable { reason },
        other => other,
    }
}

/// Returns the first text after all texts that begin with `prefix`; `None` if there is none.
fn end_of_prefix(prefix: &str) -> Option<String> {
    // The byte order of UTF-8 is the order of code points, and a range of `char` skips the surrogates.
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

fn is_empty(lower: Bound<&str>, upper: Bound<&str>) -> bool {
    match (lower, upper) {
        (Bound::Included(lower), Bound::Excluded(upper)) | (Bound::Excluded(lower), Bound::Excluded(upper)) => {
            lower >= upper
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_end_of_a_prefix_parts_those_that_begin_with_it(prefix in "\\PC{0,4}", other in "\\PC{0,6}") {
            let end = end_of_prefix(&prefix);
            let within = other >= prefix && end.as_ref().is_none_or(|end| other < *end);
            prop_assert_eq!(within, other.starts_with(&prefix));
        }
    }

    #[test]
    fn the_end_of_the_last_prefix_is_none() {
        assert_eq!(end_of_prefix(""), None);
        assert_eq!(end_of_prefix("\u{10FFFF}"), None);
        assert_eq!(end_of_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(end_of_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(end_of_prefix("apps/").as_deref(), Some("apps0"));
    }
}
