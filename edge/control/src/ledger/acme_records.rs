//! Records shared by cluster nodes for ACME certificates, written only by the ordering node.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::members::Duty;
use super::system_write::{PART_CHANGES_MAX, SystemWrite, commit_system};
use super::write_pause::{PAUSE_KEY, paused, unless_paused};
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{Catalog, Change, Commit, Error, Record};
use devanture_store::records;
use devanture_store::records::follow::Follow;
use devanture_store::records::table::FollowedBy;

/// Prefix of all ACME records.
pub const ACME_PREFIX: &str = "acme/";
/// Prefix of records of presented proofs, below one authority. The records last as long as the ordering duty.
pub const PROOFS: &str = "proofs/";

/// Records of one authority, with keys relative to `acme/{authority}/`.
#[derive(Clone)]
pub struct AcmeRecords {
    catalog: Arc<dyn Catalog>,
    prefix: String,
}

impl AcmeRecords {
    /// Returns the records of `authority`, a name without slashes.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, authority: &str) -> Self {
        Self { catalog, prefix: format!("{ACME_PREFIX}{authority}/") }
    }

    /// Returns the full key of the record at `key`.
    #[must_use]
    pub fn full_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns the locally known record at `key`.
    ///
    /// # Errors
    /// Errors of the catalog, also for a record that is no `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let key = self.full_key(key);
        self.catalog.get(&key).await?.map(|record| records::read(&key, &record)).transpose()
    }

    /// Returns all locally known records whose keys begin with `below`, as pairs of key suffix and record.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn list(&self, below: &str) -> Result<Vec<(String, Record)>, Error> {
        let prefix = self.full_key(below);
        let mut scan = Scan::new(&*self.catalog, prefix.clone());
        let mut found = Vec::new();
        while let Some((key, record)) = scan.next().await? {
            found.extend(key.strip_prefix(&prefix).map(|name| (name.to_owned(), record)));
        }
        Ok(found)
    }

    /// Follows the certificates, those of other authorities among them.
    #[must_use]
    pub fn follow(&self) -> Follow {
        Follow::new(&*self.catalog, FollowedBy::Acme)
    }

    /// Waits until all acknowledged commits are readable locally.
    ///
    /// # Errors
    /// The catalog is unreachable.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.catalog.refresh().await.map(drop)
    }

    /// Returns true while all changes are paused, as far as known locally.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn are_changes_paused(&self) -> Result<bool, Error> {
        Ok(self.catalog.get(PAUSE_KEY).await?.is_some())
    }

    /// Writes `values` by key, and deletes records without a value, in several commits.
    ///
    /// # Errors
    /// [`Error::Conflict`] after another node has taken the duty, with no further changes. Errors of the catalog.
    pub async fn write<T: Serialize>(&self, duty: &Duty, values: &[(String, Option<T>)]) -> Result<(), Error> {
        for part in values.chunks(PART_CHANGES_MAX) {
            let commit = self.by(duty, part)?;
            commit_system(&*self.catalog, SystemWrite::Acme, commit).await?;
        }
        Ok(())
    }

    /// Writes `value` at `key` for the duration of the duty.
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
