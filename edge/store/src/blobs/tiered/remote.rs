//! The bucket as the store uses it: paths of objects, turns, bounds of memory and time, and metrics of each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use devanture_config::Digest;
use futures_util::TryStreamExt as _;
use metrics::{counter, histogram};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::blobs::{Error, Key};
use crate::s3::{self, Bucket, Entry, LargeUpload, Reading};
use devanture_base::durable;
use devanture_base::fair::Turn;
use devanture_base::fair::{Lane, Turns};
use devanture_base::telemetry;

/// Concurrent requests of one kind: reads, and writes. Each takes a connection; more gain little on a single disk and
/// network.
pub(super) const REQUESTS_AT_ONCE: usize = 32;
/// Upper bound of bytes in memory of objects beyond [`SMALL_BYTES_MAX`].
const MEMORY_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// The unit of the memory bound: a semaphore counts no further than 32 bits.
const MEMORY_UNIT_BYTES: u64 = 1_024;
/// Upper bound of the length of a small object: one small object for each turn may be in memory beside the large ones.
pub(super) const SMALL_BYTES_MAX: u64 = 256 * 1_024;
/// Longest time for a small object …
const BODY_MAX: Duration = Duration::from_secs(30);
/// … and the minimal rate of a larger one, in bytes a second, so that a dribbling store does not block callers for
/// ever.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1_024;
/// Blobs for which a page of a listing is worthwhile: a request for each of them would take as long.
const BLOBS_PER_PAGE: usize = 256;
/// Objects on a page of a listing.
const PAGE_OBJECTS: usize = 1_000;

/// Milliseconds after a failed connection in which reads fail at once: a version of a thousand files would otherwise
/// wait a thousand times.
const AWAY_MS: u64 = 1_000;

/// The origin of variants: made by the edge, or part of a bundle. Each origin has a separate object, so that a node
/// with remade variants can never overwrite variants of a bundle arriving at a different node at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Part of a bundle, and never remade.
    Given,
    /// Made by an edge.
    Made,
}

impl Origin {
    pub(super) const ALL: [Self; 2] = [Self::Made, Self::Given];

    /// The folder of the objects.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Made => "variants",
        }
    }

    pub(super) fn path(self, blob: Digest) -> String {
        let name = blob.to_string();
        format!("{}/{}/{name}", self.folder(), name.get(..2).unwrap_or_default())
    }
}

/// The bucket.
pub(super) struct Remote {
    pub(super) bucket: Bucket,
    reads: Arc<Turns>,
    writes: Arc<Turns>,
    memory: Semaphore,
    began: Instant,
    /// End of the time in which reads fail at once, in milliseconds since the start …
    away_until_ms: AtomicU64,
    /// … and the error of these reads.
    away: Mutex<Option<s3::Error>>,
}

/// An object during a read, with its turn.
pub(super) struct Object<'r> {
    remote: &'r Remote,
    pub(super) size: u64,
    reading: Reading,
    /// The deadline for the whole object.
    deadline: Instant,
    _turn: Turn,
}

impl Object<'_> {
    /// The next piece.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, s3::Error> {
        let piece = tokio::time::timeout_at(self.deadline.into(), self.reading.pieces.try_next()).await;
        let piece = piece.unwrap_or_else(|_elapsed| Err(self.remote.bucket.late()));
        let piece = piece.inspect_err(|error| self.remote.note(error))?;
        if let Some(piece) = &piece {
            counter!("devanture_bucket_bytes_total", "direction" => "in").increment(piece.len() as u64);
        }
        Ok(piece)
    }

    /// Pauses, without counting the pause as a wait for the bucket.
    pub(super) async fn pause(&mut self, pause: Duration) {
        tokio::time::sleep(pause).await;
        self.deadline += pause;
    }

    /// All bytes.
    pub(super) async fn bytes(mut self) -> Result<Bytes, s3::Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.into())
    }
}

/// Returns the number of objects in the pages of a listing that are worthwhile for a search of so many objects.
pub(super) const fn worth_listing(objects: usize) -> usize {
    (objects / BLOBS_PER_PAGE).saturating_add(1).saturating_mul(PAGE_OBJECTS)
}

/// Returns the longest time for a body of `size` bytes.
fn body_max(size: u64) -> Duration {
    BODY_MAX.saturating_add(Duration::from_secs(size / BYTES_PER_SECOND_MIN))
}

fn count(operation: &'static str, outcome: &'static str, began: Instant) {
    counter!("devanture_bucket_requests_total", "operation" => operation, "outcome" => outcome).increment(1);
    histogram!(telemetry::BUCKET_REQUEST, "operation" => operation).record(began.elapsed().as_secs_f64());
}

fn counted<T>(operation: &'static str, began: Instant, result: Result<T, s3::Error>) -> Result<T, s3::Error> {
    count(operation, if result.is_ok() { "ok" } else { "failed" }, began);
    result
}

impl From<s3::Error> for Error {
    fn from(error: s3::Error) -> Self {
        Self::Remote(Box::new(error))
    }
}

/// Returns the path of a blob or manifest; fails for derived files, which have different paths.
pub(super) fn path_of(key: Key) -> Result<String, Error> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "only blobs and manifests have a path");
    let failed = || durable::Error::Io { doing: "looking for", path: key.to_string(), source: invalid() };
    Ok(key.path().ok_or_else(failed)?)
}

impl Remote {
    pub(super) fn new(bucket: Bucket) -> Self {
        let units = usize::try_from(MEMORY_BYTES_MAX / MEMORY_UNIT_BYTES).unwrap_or(usize::MAX);
        Self {
            bucket,
            reads: Turns::new(REQUESTS_AT_ONCE),
            writes: Turns::new(REQUESTS_AT_ONCE),
            memory: Semaphore::new(units),
            began: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            away: Mutex::default(),
        }
    }

    /// Waits until `bytes` more bytes may be in memory; a small object does not wait. Taken before a turn to write, so
    /// that no holder of a turn waits for memory held by a waiter for the turn.
    pub(super) async fn memory(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        if bytes <= SMALL_BYTES_MAX {
            return None;
        }
        let units = bytes.min(MEMORY_BYTES_MAX) / MEMORY_UNIT_BYTES;
        // The semaphore is never closed.
        self.memory.acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).await.ok()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Fails while the bucket is known to be away.
    fn check_there(&self) -> Result<(), s3::Error> {
        if self.now_ms() >= self.away_until_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.away.lock().clone().map_or(Ok(()), Err)
    }

    /// Notes whether a read found the bucket away.
    fn note(&self, error: &s3::Error) {
        if matches!(error, s3::Error::Unreachable { .. } | s3::Error::Failed { .. }) {
            *self.away.lock() = Some(error.clone());
            self.away_until_ms.store(self.now_ms().saturating_add(AWAY_MS), Ordering::Relaxed);
        }
    }

    /// Begins a read of an object; `None` if there is none.
    pub(super) async fn open(&self, path: &str, lane: Lane) -> Result<Option<Object<'_>>, s3::Error> {
        self.check_there()?;
        let turn = self.reads.take(lane, SMALL_BYTES_MAX).await;
        self.check_there()?;
        let began = Instant::now();
        match self.bucket.open(path).await {
            Ok(Some(reading)) => {
                count("get", "ok", began);
                let size = reading.entry.size;
                let deadline = Instant::now() + body_max(size);
                Ok(Some(Object { remote: self, size, reading, deadline, _turn: turn }))
            }
            Ok(None) => {
                count("get", "missing", began);
                Ok(None)
            }
            Err(error) => {
                count("get", "failed", began);
                self.note(&error);
                Err(error)
            }
        }
    }

    /// Returns the metadata of an object.
    pub(super) async fn head(&self, path: &str, lane: Lane) -> Result<Option<Entry>, s3::Error> {
        self.check_there()?;
        let _turn = self.reads.take(lane, 1).await;
        self.check_there()?;
        let began = Instant::now();
        let found = self.bucket.head(path).await;
        let outcome = match &found {
            Ok(Some(_)) => "ok",
            Ok(None) => "missing",
            Err(_) => "failed",
        };
        count("head", outcome, began);
        found.inspect_err(|error| self.note(error))
    }

    /// Lists the objects of a folder; `None` for more than `max`.
    pub(super) async fn list(&self, folder: &str, max: usize, lane: Lane) -> Result<Option<Vec<Entry>>, s3::Error> {
        self.check_there()?;
        let _turn = self.reads.take(lane, SMALL_BYTES_MAX).await;
        let (began, mut entries) = (Instant::now(), Vec::new());
        let mut listed = self.bucket.list(folder);
        let complete = async {
            while let Some(entry) = listed.try_next().await? {
                if entries.len() >= max {
                    return Ok(false);
                }
                entries.push(entry);
            }
            Ok(true)
        };
        let is_complete = counted("list", began, complete.await).inspect_err(|error| self.note(error))?;
        Ok(is_complete.then_some(entries))
    }

    /// Writes an object from bytes in memory.
    pub(super) async fn write(&self, path: &str, pieces: Vec<Bytes>, lane: Lane) -> Result<(), s3::Error> {
        let bytes = pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.len() as u64));
        let _turn = self.writes.take(lane, bytes).await;
        let began = Instant::now();
        counted("put", began, self.bucket.write(path, pieces).await)?;
        counter!("devanture_bucket_bytes_total", "direction" => "out").increment(bytes);
        Ok(())
    }

    /// Begins to write a large object.
    pub(super) async fn write_large(&self, path: &str) -> Result<LargeUpload, s3::Error> {
        self.bucket.write_large(path).await
    }

    /// Waits for a turn to write.
    pub(super) async fn write_turn(&self, bytes: u64, lane: Lane) -> Turn {
        self.writes.take(lane, bytes).await
    }

    /// Counts a written large object.
    pub(super) fn wrote_large(result: Result<u64, s3::Error>, began: Instant) -> Result<(), s3::Error> {
        let bytes = counted("put", began, result)?;
        counter!("devanture_bucket_bytes_total", "direction" => "out").increment(bytes);
        Ok(())
    }

    /// Removes objects; a missing object is no error.
    pub(super) async fn remove(&self, paths: Vec<String>) -> Result<(), s3::Error> {
        if paths.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        counted("delete", began, self.bucket.remove(paths).await)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};

    use super::*;
    use crate::blobs::tiered::tests::nowhere;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// A bucket that cannot be reached, with a stopped clock.
    fn stopped() -> Remote {
        Remote { began: Instant::now() + HOUR, ..Remote::new(nowhere()) }
    }

    /// An error of a failed store, different from the errors of requests in these tests.
    fn failure() -> s3::Error {
        let [at, object, reason] = ["there", "x", "it answers 503"].map(str::to_owned);
        s3::Error::Failed { at, doing: "reading", object, reason }
    }

    /// Every turn to read.
    async fn all_turns(remote: &Remote) -> Vec<Turn> {
        let mut turns = Vec::new();
        for _ in 0..REQUESTS_AT_ONCE {
            turns.push(remote.reads.take(Lane::EDGE, 1).await);
        }
        turns
    }

    /// An object with a read that begins now.
    async fn object(
        remote: &Remote,
        pieces: impl Stream<Item = Result<Bytes, s3::Error>> + Send + 'static,
    ) -> Object<'_> {
        let entry = Entry { path: "x".to_owned(), size: 2, written_s: 0 };
        let deadline = tokio::time::Instant::now().into_std() + body_max(entry.size);
        let reading = Reading { entry, pieces: pieces.boxed() };
        Object { remote, size: 2, reading, deadline, _turn: remote.reads.take(Lane::EDGE, 1).await }
    }

    #[tokio::test]
    async fn reads_fail_for_a_while_after_one_that_found_the_bucket_away_and_then_try_again() {
        let mut remote = stopped();
        remote.note(&s3::Error::NoBucket { at: "there".to_owned(), bucket: "x".to_owned() });
        assert_eq!(remote.check_there(), Ok(()), "it answers");
        remote.note(&failure());
        assert_eq!(remote.check_there(), Err(failure()));
        remote.began = Instant::now() - HOUR;
        assert_eq!(remote.check_there(), Ok(()));
    }

    #[tokio::test]
    async fn while_the_bucket_is_away_no_read_waits_for_a_turn() {
        let remote = stopped();
        let _turns = all_turns(&remote).await;
        remote.note(&failure());
        let opened = remote.open("x", Lane::EDGE).now_or_never();
        assert_eq!(opened.map(|opened| opened.map(drop)), Some(Err(failure())));
        assert_eq!(remote.head("x", Lane::EDGE).now_or_never(), Some(Err(failure())));
        assert_eq!(remote.list("blobs", 1, Lane::EDGE).now_or_never(), Some(Err(failure())));
    }

    #[tokio::test]
    async fn a_read_that_waited_for_a_turn_fails_at_once_where_the_bucket_went_away_meanwhile() {
        let remote = stopped();
        let turns = all_turns(&remote).await;
        let mut opened = pin!(remote.open("x", Lane::EDGE));
        let mut found = pin!(remote.head("x", Lane::EDGE));
        assert!(opened.as_mut().now_or_never().is_none());
        assert!(found.as_mut().now_or_never().is_none());
        remote.note(&failure());
        drop(turns);
        // A request would end with a different error.
        assert_eq!(opened.await.map(drop), Err(failure()));
        assert_eq!(found.await, Err(failure()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_does_not_come_in_time_is_given_up_and_its_bucket_is_away() {
        let remote = stopped();
        let mut never = object(&remote, stream::pending()).await;
        assert_eq!(never.next().await, Err(remote.bucket.late()));
        assert_eq!(remote.check_there(), Err(remote.bucket.late()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pauses_of_a_reader_are_not_counted_as_time_that_the_bucket_takes() {
        let remote = stopped();
        let began = tokio::time::Instant::now();
        let pieces = stream::iter([b"1", b"2"]).then(|piece| async move {
            tokio::time::sleep(BODY_MAX / 3).await;
            Ok(Bytes::from_static(piece))
        });
        let mut object = object(&remote, pieces).await;
        for piece in ["1", "2"] {
            assert_eq!(object.next().await, Ok(Some(Bytes::from_static(piece.as_bytes()))));
            object.pause(HOUR).await;
        }
        assert_eq!(object.next().await, Ok(None));
        // By the paused clock of the test, which advances when all tasks are idle.
        assert!(began.elapsed() >= 2 * HOUR, "{:?}", began.elapsed());
    }

    #[test]
    fn a_large_object_has_the_time_that_a_slow_bucket_needs_for_it() {
        assert_eq!(body_max(0), BODY_MAX);
        assert_eq!(body_max(HOUR.as_secs() * BYTES_PER_SECOND_MIN), BODY_MAX + HOUR);
    }

    #[tokio::test]
    async fn large_objects_wait_for_memory_and_small_ones_do_not() {
        let remote = stopped();
        let all = remote.memory(u64::MAX).await;
        assert!(all.is_some(), "one that is larger than all of it has all of it");
        assert!(matches!(remote.memory(SMALL_BYTES_MAX).now_or_never(), Some(None)));
        assert!(remote.memory(SMALL_BYTES_MAX + 1).now_or_never().is_none());
        drop(all);
        assert!(matches!(remote.memory(SMALL_BYTES_MAX + 1).now_or_never(), Some(Some(_))));
    }
}
