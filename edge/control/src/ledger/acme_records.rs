//! The records by which the nodes of a cluster share certificates by ACME: changed by the node alone that orders for
//! all.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;

use super::members::Duty;
use super::system_write::{PART_CHANGES_MAX, SystemWrite, commit_system};
use super::write_pause::{PAUSE_KEY, paused, unless_paused};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Change, Commit, Committed, Error, Record};
use devanture_store::records;

/// The prefix of all these records.
pub const ACME_PREFIX: &str = "acme/";
/// The prefix of the records of shown proofs, among those of one authority. They last as long as the duty to order.
pub const PROOFS: &str = "proofs/";

/// The records of one authority, whose keys are relative to `acme/{authority}/`.
#[derive(Clone)]
pub struct AcmeRecords {
    catalog: Arc<dyn Catalog>,
    prefix: String,
}

impl AcmeRecords {
    /// Those of `authority`, a name without slashes.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, authority: &str) -> Self {
        Self { catalog, prefix: format!("{ACME_PREFIX}{authority}/") }
    }

    /// The whole key of the record at `key`.
    #[must_use]
    pub fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The record at `key`, as this node knows it.
    ///
    /// # Errors
    /// Those of the catalog, also where it cannot be read as a `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let key = self.full_key(key);
        self.catalog.get(&key).await?.map(|record| records::read(&key, &record)).transpose()
    }

    /// All records whose keys begin with `below`, as this node knows them: what follows `below` in each key, and the
    /// record.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn list(&self, below: &str) -> Result<Vec<(String, Record)>, Error> {
        let prefix = self.full_key(below);
        let mut scan = Scan::new(&*self.catalog, prefix.clone());
        let mut found = Vec::new();
        while let Some((key, record)) = scan.next().await? {
            found.extend(key.strip_prefix(&prefix).map(|name| (name.to_owned(), record)));
        }
        Ok(found)
    }

    /// Every commit to the catalog from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Committed> {
        self.catalog.watch()
    }

    /// Waits until what was acknowledged anywhere can be read here.
    ///
    /// # Errors
    /// Where the catalog cannot be reached.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.catalog.refresh().await.map(drop)
    }

    /// Whether all changes are paused, as far as this node knows.
    ///
    /// # Errors
    /// Those of the catalog.
    pub async fn are_changes_paused(&self) -> Result<bool, Error> {
        Ok(self.catalog.get(PAUSE_KEY).await?.is_some())
    }

    /// Writes `values` by their keys, and removes the records of those without one; some of them at a time.
    ///
    /// # Errors
    /// [`Error::Conflict`] where another node has taken the duty on: nothing more was changed then. Those of the
    /// catalog.
    pub async fn write<T: Serialize>(&self, duty: &Duty, values: &[(String, Option<T>)]) -> Result<(), Error> {
        for part in values.chunks(PART_CHANGES_MAX) {
            let commit = self.by(duty, part)?;
            commit_system(&*self.catalog, SystemWrite::Acme, commit).await?;
        }
        Ok(())
    }

    /// Writes `value` at `key` for as long as the duty lasts.
    ///
    /// # Errors
    /// As [`AcmeRecords::write`], and [`Error::LeaseLost`].
    pub async fn write_leased<T: Serialize>(&self, duty: &Duty, key: &str, value: T) -> Result<(), Error> {
        let commit = self.by(duty, &[(key.to_owned(), Some(value))])?;
        self.catalog.commit_leased(unless_paused(commit), &duty.lease).await.map(drop).map_err(paused)
    }

    fn by<T: Serialize>(&self, duty: &Duty, values: &[(String, Option<T>)]) -> Result<Commit, Error> {
        let change = |(key, value): &(String, Option<T>)| match value {
            Some(value) => Ok(Change::Put(self.full_key(key), records::write(value)?)),
            None => Ok(Change::Delete(self.full_key(key))),
        };
        let changes = values.iter().map(change).collect::<Result<Vec<_>, Error>>()?;
        Ok(Commit { checks: vec![duty.held.clone()], changes })
    }
}
