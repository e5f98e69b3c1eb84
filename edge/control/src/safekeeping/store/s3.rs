//! Backups below a prefix of a bucket.
//!
//! Objects are written atomically. A lock is an object rewritten by its holder every few minutes; a lock not rewritten
//! for an hour was left by a dead process.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use devanture_config::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{BackupStore, Held, digest_of, is_of, read_piece};
use crate::ledger::{Error, lost};
use crate::safekeeping::location::{CATALOG, DESCRIPTION, LOCK, SNAPSHOTS, bad, in_snapshot};
use devanture_base::clock;
use devanture_base::durable::{self, Draft};
use devanture_store::blobs::{self, Blobs, Key, ReadAt};
use devanture_store::s3::{Address, Bucket, LargeUpload};

/// Concurrent copies, each holding at most 8 MiB.
const PARALLEL: usize = 8;
/// Concurrent object reads per copy of a batch.
const READS_AT_ONCE: usize = 4;
/// Object of the layout version of blobs, as in a folder.
const FORMAT_NAME: &str = "format";
/// Interval of writes of a lock.
const LOCK_PAUSE: Duration = Duration::from_secs(300);
/// Age in milliseconds of an abandoned lock.
const LOCK_AGE_MS_MAX: u64 = 3_600_000;
/// Name of the machine.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// Bytes per read of a local file.
const PIECE_BYTES: usize = 1_024 * 1_024;

/// Prefix of a bucket.
pub(super) struct S3Store {
    shown: String,
    bucket: Bucket,
    holder: Holder,
}

/// Holder of the lock. The next process of the same data folder takes over the lock of a killed process: the data
/// folder has its own lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holder {
    host: String,
    data_dir: PathBuf,
}

impl S3Store {
    pub(super) async fn open_to_write(address: &Address, bucket: Bucket, data_dir: &Path) -> Result<Self, Error> {
        let shown = address.to_string();
        if bucket.written_ms(CATALOG).await?.is_some() {
            return Err(bad(format!("{shown} holds the data folder of an edge."), "name another prefix"));
        }
        match bucket.read(FORMAT_NAME).await? {
            None => bucket.write(FORMAT_NAME, [Bytes::from_static(blobs::FORMAT.as_bytes())]).await?,
            Some(found) if found == blobs::FORMAT => {}
            Some(_) => {
                let detail = format!("{shown}/{FORMAT_NAME} names a layout that this program does not know.");
                return Err(bad(detail, "use a newer release, or name another prefix"));
            }
        }
        let host = std::fs::read_to_string(HOSTNAME).unwrap_or_default().trim().to_owned();
        let data_dir = std::fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        Ok(Self { shown, bucket, holder: Holder { host, data_dir } })
    }

    pub(super) fn open_to_read(address: &Address, bucket: Bucket) -> Self {
        Self { shown: address.to_string(), bucket, holder: Holder::default() }
    }

    fn lock_bytes(&self) -> Bytes {
        serde_json::to_vec(&self.holder).unwrap_or_default().into()
    }

    /// Returns the foreign holder of the lock. A lock copied from a folder of backups has no holder.
    async fn other_holder(&self) -> Result<Option<Holder>, Error> {
        let Some(text) = self.bucket.read(LOCK).await? else { return Ok(None) };
        let holder = serde_json::from_slice::<Holder>(&text).ok().filter(|holder| *holder != self.holder);
        let written_ms = self.bucket.written_ms(LOCK).await?.unwrap_or_default();
        Ok(holder.filter(|_| clock::now_ms().saturating_sub(written_ms) < LOCK_AGE_MS_MAX))
    }

    /// Reads an object of at most `bytes_max` bytes; `None` if missing or damaged.
    async fn read_whole(&self, key: Key, bytes_max: u64) -> Result<Option<Bytes>, Error> {
        let Some(mut pieces) = self.bucket.download(&file_name(key)?).await? else { return Ok(None) };
        let mut bytes = BytesMut::new();
        while let Some(piece) = pieces.next().await.transpose()? {
            bytes.extend_from_slice(&piece);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(bytes.freeze()).filter(|bytes| is_of(key, bytes)))
    }

    /// Writes a file; `None` if its bytes do not have the hash `expected`.
    async fn upload(&self, path: &str, source: Source, expected: Option<Digest>) -> Result<Option<u64>, Error> {
        let size = source.size();
        let mut target = match size < LargeUpload::BYTES_MIN {
            true => Target::Small(Vec::new()),
            false => Target::Large(self.bucket.write_large(path).await?),
        };
        let found = source.copy_to(&mut target).await;
        let is_whole = match &found {
            Ok(Some(found)) => expected.is_none_or(|expected| *found == expected),
            Ok(None) | Err(_) => false,
        };
        match target {
            Target::Large(upload) if is_whole => upload.finish().await?,
            Target::Large(upload) => upload.abort().await,
            Target::Small(pieces) if is_whole => self.bucket.write(path, pieces).await?,
            Target::Small(_) => {}
        }
        found?;
        Ok(is_whole.then_some(size))
    }
}

/// Destination of the pieces of a file.
enum Target {
    /// Memory, for a single request.
    Small(Vec<Bytes>),
    /// Store, part by part.
    Large(LargeUpload),
}

/// Uploaded file.
enum Source {
    /// File of the edge's store.
    Stored(Arc<dyn ReadAt>),
    /// File of a folder, with its length.
    Local(Arc<std::fs::File>, PathBuf, u64),
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Stored(file) => file.size(),
            Self::Local(.., size) => *size,
        }
    }

    /// Copies all bytes in pieces. Returns the hash; `None` for a damaged file.
    async fn copy_to(&self, target: &mut Target) -> Result<Option<Digest>, Error> {
        let (mut at, mut hasher) = (0_u64, blake3::Hasher::new());
        while at < self.size() {
            let Some(piece) = self.piece(at).await? else { return Ok(None) };
            at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            hasher.update(&piece);
            match target {
                Target::Small(pieces) => pieces.push(piece),
                Target::Large(upload) => upload.write(piece).await?,
            }
        }
        Ok(Some(Digest::from(hasher.finalize())))
    }

    async fn piece(&self, at: u64) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Stored(file) => Ok(read_piece(file, at).await?),
            Self::Local(file, path, size) => {
                let (file, left) = (Arc::clone(file), size.saturating_sub(at));
                let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let read = move || {
                    let mut piece = vec![0; length];
                    std::os::unix::fs::FileExt::read_exact_at(&*file, &mut piece, at)?;
                    Ok(Bytes::from(piece))
                };
                let read = tokio::task::spawn_blocking(read).await.map_err(|error| lost(&error))?;
                Ok(read.map(Some).map_err(durable::failed("reading", path))?)
            }
        }
    }
}

/// Lock, rewritten until dropped.
struct Lock {
    bucket: Bucket,
    refreshing: JoinHandle<()>,
}

#[async_trait]
impl Held for Lock {
    async fn release(self: Box<Self>) {
        self.refreshing.abort();
        if let Err(error) = self.bucket.remove([LOCK.to_owned()]).await {
            tracing::warn!(%error, "the lock of a backup stays in the store for an hour");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

fn file_name(key: Key) -> Result<String, Error> {
    key.path().ok_or_else(|| bad(format!("{key} is in no backup."), "this is a fault of the program"))
}

#[async_trait]
impl BackupStore for S3Store {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn parallel(&self) -> usize {
        PARALLEL
    }

    async fn lock(&self) -> Result<Box<dyn Held>, Error> {
        if !self.bucket.create(LOCK, self.lock_bytes()).await? {
            if let Some(Holder { host, data_dir }) = self.other_holder().await? {
                let (shown, data_dir) = (&self.shown, data_dir.display());
                let detail = format!("The edge on {host} with the data folder {data_dir} writes a backup to {shown}.");
                let hint = format!("try again when it has ended; if it was killed, remove {shown}/{LOCK}");
                return Err(bad(detail, &hint));
            }
            self.bucket.write(LOCK, [self.lock_bytes()]).await?;
        }
        let (bucket, bytes) = (self.bucket.clone(), self.lock_bytes());
        let refreshing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOCK_PAUSE).await;
                if let Err(error) = bucket.write(LOCK, [bytes.clone()]).await {
                    tracing::warn!(%error, "the lock of a backup cannot be written again");
                }
            }
        });
        Ok(Box::new(Lock { bucket: self.bucket.clone(), refreshing }))
    }

    async fn snapshots(&self) -> Result<Vec<String>, Error> {
        // Lists objects rather than folders: some stores list empty folders for a while.
        let listed = self.bucket.list(SNAPSHOTS).try_collect::<Vec<_>>().await?;
        let names = listed.iter().filter_map(|entry| entry.path.split('/').nth(1));
        Ok(names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect())
    }

    async fn files(&self, name: &str) -> Result<Vec<String>, Error> {
        let folder = in_snapshot(name, "");
        let listed: Vec<_> = self.bucket.list(folder.trim_end_matches('/')).try_collect().await?;
        Ok(listed.iter().filter_map(|entry| Some(entry.path.strip_prefix(&folder)?.to_owned())).collect())
    }

    async fn read(&self, path: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.bucket.read(path).await?)
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        Ok(self.bucket.write(path, [bytes]).await?)
    }

    async fn store(&self, path: &str, from: &Path) -> Result<(), Error> {
        let file = durable::open_file(from).map_err(durable::failed("opening", from))?;
        let size = file.metadata().map_err(durable::failed("reading", from))?.len();
        self.upload(path, Source::Local(Arc::new(file), from.to_owned(), size), None).await.map(drop)
    }

    async fn fetch(&self, path: &str, to: &Path) -> Result<(), Error> {
        let Some(mut pieces) = self.bucket.download(path).await? else {
            return Err(bad(format!("There is no {}/{path}.", self.shown), "take another backup"));
        };
        let folder = to.parent().unwrap_or(to);
        durable::make_folder(folder)?;
        let mut draft = Draft::create(folder)?;
        while let Some(piece) = pieces.next().await {
            draft.write(&piece?)?;
        }
        let to = to.to_owned();
        let persisted = tokio::task::spawn_blocking(move || draft.persist(&to)).await;
        Ok(persisted.map_err(|error| lost(&error))??)
    }

    async fn remove_snapshot(&self, name: &str) -> Result<(), Error> {
        self.bucket.remove([in_snapshot(name, DESCRIPTION)]).await?;
        let files = self.files(name).await?;
        Ok(self.bucket.remove(files.iter().map(|file| in_snapshot(name, file))).await?)
    }

    async fn sizes(&self) -> Result<HashMap<Key, u64>, Error> {
        let mut sizes = HashMap::new();
        for folder in ["blobs", "manifests"] {
            let mut listed = self.bucket.list(folder);
            while let Some(entry) = listed.next().await.transpose()? {
                sizes.extend(Key::of_path(&entry.path).map(|key| (key, entry.size)));
            }
        }
        Ok(sizes)
    }

    async fn read_all(&self, keys: &[Key], bytes_max: u64) -> Result<Vec<Option<Bytes>>, Error> {
        let reads: Vec<_> = keys.iter().map(|key| self.read_whole(*key, bytes_max)).collect();
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn check(&self, key: Key) -> Result<Option<u64>, Error> {
        let Some(mut pieces) = self.bucket.download(&file_name(key)?).await? else { return Ok(None) };
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0_u64);
        while let Some(piece) = pieces.next().await.transpose()? {
            bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            hasher.update(&piece);
        }
        Ok((digest_of(key) == Some(Digest::from(hasher.finalize()))).then_some(bytes))
    }

    async fn put(&self, key: Key, file: Arc<dyn ReadAt>) -> Result<Option<u64>, Error> {
        self.upload(&file_name(key)?, Source::Stored(file), digest_of(key)).await
    }

    async fn copy_to(&self, key: Key, to: &dyn Blobs) -> Result<Option<u64>, Error> {
        let Some(mut pieces) = self.bucket.download(&file_name(key)?).await? else { return Ok(None) };
        let mut upload = to.upload(key).await?;
        while let Some(piece) = pieces.next().await {
            upload.write(piece?).await?;
        }
        match upload.finish().await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(blobs::Error::Mismatch { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&self, keys: Vec<Key>) -> Result<(), Error> {
        Ok(self.bucket.remove(keys.into_iter().filter_map(Key::path)).await?)
    }
}
