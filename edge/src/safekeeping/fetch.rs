//! Copies files of a backup into the store of an edge, several at a time.

use std::collections::HashSet;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::references::Look;
use super::store::BackupStore;
use crate::blobs::{Blobs, Key};
use crate::ledger::Error;

/// Copies each file that it looks at and that the store lacks. A manifest is there when the look ends, a blob may be still
/// under way: [`Fetcher::finish`] waits for them.
pub(super) struct Fetcher<'f> {
    from: &'f dyn BackupStore,
    to: &'f dyn Blobs,
    /// What the backup has.
    present: HashSet<Key>,
    under_way: FuturesUnordered<BoxFuture<'f, Result<Option<u64>, Error>>>,
    /// Files that were copied.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl<'f> Fetcher<'f> {
    pub(super) async fn new(from: &'f dyn BackupStore, to: &'f dyn Blobs) -> Result<Self, Error> {
        let present = from.keys().await?;
        Ok(Self { from, to, present, under_way: FuturesUnordered::new(), files: 0, bytes: 0 })
    }

    /// Copies all manifests: the names of some still count, although no version has them.
    pub(super) async fn all_manifests(&mut self) -> Result<(), Error> {
        let manifests: Vec<Key> = self.present.iter().copied().filter(|key| matches!(key, Key::Manifest(_))).collect();
        for key in manifests {
            self.begin(key).await?;
        }
        Ok(())
    }

    /// Waits for what is under way.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        while let Some(copied) = self.under_way.next().await {
            self.count(copied?);
        }
        Ok(())
    }

    async fn begin(&mut self, key: Key) -> Result<(), Error> {
        if self.to.size(key).await?.is_some() {
            return Ok(());
        }
        while self.under_way.len() >= self.from.parallel() {
            let copied = self.under_way.next().await.transpose()?;
            self.count(copied.flatten());
        }
        let (from, to) = (self.from, self.to);
        self.under_way.push(Box::pin(async move { from.copy_to(key, to).await }));
        Ok(())
    }

    const fn count(&mut self, copied: Option<u64>) {
        if let Some(bytes) = copied {
            self.files = self.files.saturating_add(1);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }
}

#[async_trait]
impl Look for Fetcher<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        if self.to.size(key).await?.is_some() {
            return Ok(true);
        }
        if !self.present.contains(&key) {
            return Ok(false);
        }
        if matches!(key, Key::Manifest(_)) {
            let copied = self.from.copy_to(key, self.to).await?;
            self.count(copied);
            return Ok(copied.is_some());
        }
        self.begin(key).await?;
        Ok(true)
    }
}

/// Looks whether a store has a file. What was damaged is set aside by then.
pub(super) struct Stored<'s>(pub(super) &'s dyn Blobs);

#[async_trait]
impl Look for Stored<'_> {
    async fn look(&mut self, key: Key) -> Result<bool, Error> {
        Ok(self.0.size(key).await?.is_some())
    }
}
