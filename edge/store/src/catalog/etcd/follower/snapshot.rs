//! Reads all records of one revision, page by page, into the mirror.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Follower;
use crate::catalog::embedded::{Snapshot, SnapshotPage};
use crate::catalog::etcd::client::REQUEST_TIME_MAX;
use crate::catalog::etcd::fault::Fault;
use crate::catalog::etcd::grpc::Channel;
use crate::catalog::etcd::history::Marked;
use crate::catalog::etcd::wire::{self, KeyValue, RangeRequest, RangeResponse};
use crate::catalog::{Change, Committed, Record, Revision};

/// Records of a page. Most are a few hundred bytes.
const PAGE_RECORDS: i64 = 1_000;
/// Pages that wait for the mirror.
const WAITING_PAGES_MAX: usize = 2;

impl Follower {
    /// Brings the mirror to the current state, and sends the difference to the watchers as one commit.
    pub(super) async fn snapshot(&mut self, channel: &Channel, cluster: u64) -> Result<(), Fault> {
        let (mut position, range_end) = self.client.keys.records();
        let first = self.page(channel, &position, &range_end, 0, PAGE_RECORDS).await?;
        let malformed =
            |reason: &str| Fault::Malformed { endpoint: channel.url().to_owned(), reason: reason.to_owned() };
        let header = first.0.header.as_ref().ok_or_else(|| malformed("no header"))?;
        let read_at = header.revision;
        let revision = Revision::try_from(read_at).map_err(|_error| malformed("a negative revision"))?;
        let (pages, receiver) = mpsc::channel(WAITING_PAGES_MAX);
        let note = self.marked_at(channel, read_at).await?.map_or_else(String::new, |marked| marked.to_text());
        let snapshot = Snapshot { origin: self.origin(cluster).to_string(), revision, note, pages: receiver };
        let mirror = std::sync::Arc::clone(&self.mirror);
        // There are no watchers before the first snapshot.
        let is_announced = self.has_snapshot;
        let replacing = tokio::spawn(async move { mirror.replace(snapshot, is_announced).await });
        let (mut page, mut limit) = first;
        loop {
            let is_last = !page.more;
            let end = page.kvs.last().map(|kv| kv.key.clone());
            let records = self.records(page.kvs);
            if pages.send(SnapshotPage { records, is_last }).await.is_err() || is_last {
                break;
            }
            position = after(&end.ok_or_else(|| malformed("an empty page with more behind it"))?);
            (page, limit) = self.page(channel, &position, &range_end, read_at, limit).await?;
        }
        drop(pages);
        let replaced = replacing.await.map_err(|error| Fault::Mirror(error.to_string()))?;
        let changes = replaced.map_err(|error| Fault::Mirror(error.to_string()))?;
        tracing::info!(revision, changes = changes.len(), "the mirror has the state of etcd");
        self.undurable = 0;
        self.durable_at = Instant::now();
        self.announce(revision, changes);
        Ok(())
    }

    /// The last commit up to a revision.
    async fn marked_at(&self, channel: &Channel, revision: i64) -> Result<Option<Marked>, Fault> {
        let request = RangeRequest { revision, keys_only: false, ..self.client.last_marker() };
        let until = Instant::now() + REQUEST_TIME_MAX;
        let found = self.client.call_on::<wire::Range>(channel, &request, until).await?;
        Ok(found.kvs.first().and_then(|kv| Marked::of(self.client.keys.node_of(&kv.key)?, kv)))
    }

    fn announce(&self, revision: Revision, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.mirror.announce(Committed { revision, changes: changes.into() });
        }
        self.progress.set_announced(revision);
        self.progress.set_applied(revision);
    }

    /// Returns the next page, and the number of records to request for the following page: fewer if these records
    /// exceeded a message.
    async fn page(
        &self,
        channel: &Channel,
        position: &Bytes,
        range_end: &Bytes,
        revision: i64,
        mut limit: i64,
    ) -> Result<(RangeResponse, i64), Fault> {
        loop {
            let request = RangeRequest {
                key: position.clone(),
                range_end: range_end.clone(),
                limit,
                revision,
                ..RangeRequest::default()
            };
            let until = Instant::now() + REQUEST_TIME_MAX;
            match self.client.call_on::<wire::Range>(channel, &request, until).await {
                Err(Fault::LongAnswer { .. }) if limit > 1 => limit = (limit / 4).max(1),
                page => return Ok((page?, limit)),
            }
        }
    }

    fn records(&self, kvs: Vec<KeyValue>) -> Vec<(String, Record)> {
        let record = |kv: KeyValue| {
            let Some(key) = self.client.keys.record_of(&kv.key) else {
                tracing::warn!(key = %kv.key.escape_ascii(), "a key in etcd is no record's and is passed over");
                return None;
            };
            let revision = Revision::try_from(kv.mod_revision).unwrap_or(0);
            Some((key.to_owned(), Record { value: kv.value.as_ref().into(), revision }))
        };
        kvs.into_iter().filter_map(record).collect()
    }
}

/// The first key after `key`.
fn after(key: &[u8]) -> Bytes {
    let mut after = BytesMut::with_capacity(key.len().saturating_add(1));
    after.extend_from_slice(key);
    after.put_u8(0);
    after.freeze()
}
