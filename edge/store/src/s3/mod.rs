//! A bucket of an S3 store: objects below a prefix, by their paths. Requests are signed, retried and bounded in time
//! and memory; a failed request is an [`Error`] that names the bucket and never a credential.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devanture_config::api::Secret;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore as _, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig};
use rustls::ClientConfig;

mod address;
mod error;
mod http;
#[cfg(test)]
#[path = "../../../tests/support/seaweed.rs"]
pub(crate) mod seaweed;
mod settings;
mod upload;
mod waits;

pub use address::Address;
pub use error::Error;
pub use settings::BucketSettings;
pub use upload::LargeUpload;
pub use waits::Waits;

/// First pause before a retry; later ones are longer and random.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Upper bound of the bytes of an object read in one piece.
const SMALL_BYTES_MAX: u64 = 4 * 1_024 * 1_024;

/// Environment variables with the access to a store, by their names, which begin with `AWS_`.
pub type Variables = BTreeMap<String, Secret>;

/// Returns the variables of this process.
#[must_use]
pub fn own_variables() -> Variables {
    let all = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
    all.map(|(name, value)| (name, Secret::new(value))).collect()
}

/// Objects below a prefix of a bucket. Paths are relative to the prefix, with `/` between folders.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Path,
    context: error::Context,
}

/// An object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// The time of the last write, in seconds since 1970 by the clock of the store.
    pub written_s: u64,
}

/// An object during a read.
pub struct Reading {
    /// The metadata.
    pub entry: Entry,
    /// The bytes, piece by piece.
    pub pieces: BoxStream<'static, Result<Bytes, Error>>,
}

impl Bucket {
    /// Prepares access to a bucket, with the time limits of backups. Sends no request.
    ///
    /// # Errors
    /// [`Error::Settings`] for invalid variables, and for plain HTTP to a different machine.
    pub fn new(address: &Address, variables: &Variables, tls: Arc<ClientConfig>) -> Result<Self, Error> {
        Self::with_waits(address, variables, tls, Waits::BACKUP)
    }

    /// Like [`Bucket::new`], with the given time limits.
    ///
    /// # Errors
    /// Like [`Bucket::new`].
    pub fn with_waits(
        address: &Address,
        variables: &Variables,
        tls: Arc<ClientConfig>,
        waits: Waits,
    ) -> Result<Self, Error> {
        let mut builder = AmazonS3Builder::new();
        for (name, value) in variables {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value.expose());
            }
        }
        let endpoint = address::endpoint(variables)?;
        let backoff = BackoffConfig { init_backoff: BACKOFF_FIRST, max_backoff: waits.pause_max, base: 2.0 };
        let retry = RetryConfig { backoff, max_retries: waits.retries_max, retry_timeout: waits.retry_max };
        let store = builder
            .with_bucket_name(address.bucket())
            .with_allow_http(endpoint.is_plain)
            .with_http_connector(http::Connector::new(tls, waits))
            .with_retry(retry)
            .build()
            .map_err(|error| Error::Settings { reason: error::sentence(&error) })?;
        let prefix = Path::parse(address.prefix()).map_err(|error| Error::Settings { reason: error.to_string() })?;
        let context = error::Context::new(address, endpoint.shown, has_credentials(variables));
        Ok(Self { store: Arc::new(store), prefix, context })
    }

    fn path(&self, relative: &str) -> Path {
        let segments = relative.split('/').filter(|segment| !segment.is_empty());
        segments.fold(self.prefix.clone(), |path, segment| path.join(segment))
    }

    /// Lists all objects below a folder, in no order. A folder without objects does not exist and is empty.
    pub fn list(&self, folder: &str) -> BoxStream<'_, Result<Entry, Error>> {
        let listed = self.store.list(Some(&self.path(folder)));
        let entry = move |meta: object_store::ObjectMeta| {
            let parts = meta.location.prefix_match(&self.prefix)?;
            let path = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
            Some(entry(path, &meta))
        };
        let folder = folder.to_owned();
        let entries = listed.map_err(move |error| self.context.error("listing", &folder, &error));
        Box::pin(entries.try_filter_map(move |meta| std::future::ready(Ok(entry(meta)))))
    }

    /// Reads a small object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`], also for an object that is not small.
    pub async fn read(&self, path: &str) -> Result<Option<Bytes>, Error> {
        let Some(found) = self.get(path).await? else { return Ok(None) };
        if found.meta.size > SMALL_BYTES_MAX {
            return Err(self.context.failed("reading", path, format!("it has {} bytes", found.meta.size)));
        }
        found.bytes().await.map(Some).map_err(|error| self.context.error("reading", path, &error))
    }

    /// Returns the bytes of an object, piece by piece; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn download(&self, path: &str) -> Result<Option<BoxStream<'static, Result<Bytes, Error>>>, Error> {
        let Some(found) = self.get(path).await? else { return Ok(None) };
        let (context, path) = (self.context.clone(), path.to_owned());
        Ok(Some(Box::pin(found.into_stream().map_err(move |error| context.error("reading", &path, &error)))))
    }

    /// Returns the metadata of an object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn head(&self, path: &str) -> Result<Option<Entry>, Error> {
        match self.store.head(&self.path(path)).await {
            Ok(meta) => Ok(Some(entry(path.to_owned(), &meta))),
            Err(error) if error::is_missing_object(&error) => Ok(None),
            Err(error) => Err(self.context.error("looking for", path, &error)),
        }
    }

    /// Begins a read of an object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(&self, path: &str) -> Result<Option<Reading>, Error> {
        let Some(found) = self.get(path).await? else { return Ok(None) };
        let (context, path) = (self.context.clone(), path.to_owned());
        let entry = entry(path.clone(), &found.meta);
        let pieces = found.into_stream().map_err(move |error| context.error("reading", &path, &error));
        Ok(Some(Reading { entry, pieces: Box::pin(pieces) }))
    }

    /// Reads a range of the bytes of an object; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read_range(&self, path: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        match self.store.get_range(&self.path(path), range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error::is_missing_object(&error) => Ok(None),
            Err(error) => Err(self.context.error("reading", path, &error)),
        }
    }

    /// Returns the name of an object for messages, including the bucket.
    #[must_use]
    pub fn shown(&self, path: &str) -> String {
        self.context.object(path)
    }

    /// Returns the error of an operation that did not end in time.
    #[must_use]
    pub fn late(&self) -> Error {
        self.context.late()
    }

    /// Returns the time of an object's last write, in milliseconds since 1970 UTC; `None` if there is none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn written_ms(&self, path: &str) -> Result<Option<u64>, Error> {
        let written = |found: object_store::GetResult| found.meta.last_modified.timestamp_millis();
        Ok(self.get(path).await?.map(|found| u64::try_from(written(found)).unwrap_or_default()))
    }

    async fn get(&self, path: &str) -> Result<Option<object_store::GetResult>, Error> {
        match self.store.get(&self.path(path)).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error::is_missing_object(&error) => Ok(None),
            Err(error) => Err(self.context.error("reading", path, &error)),
        }
    }

    /// Writes a whole object, replacing an existing one. The bytes are in memory, in pieces.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write(&self, path: &str, pieces: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        let payload: PutPayload = pieces.into_iter().collect();
        let written = self.store.put(&self.path(path), payload).await;
        written.map(drop).map_err(|error| self.context.error("writing", path, &error))
    }

    /// Writes a small object unless one exists. Returns true if the object was written. A store without an atomic
    /// create is asked for the object first.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<bool, Error> {
        let location = self.path(path);
        match self.store.put_opts(&location, bytes.clone().into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) if error::is_not_implemented(&error) => {
                if self.get(path).await?.is_some() {
                    return Ok(false);
                }
                self.write(path, [bytes]).await.map(|()| true)
            }
            Err(error) => Err(self.context.error("writing", path, &error)),
        }
    }

    /// Begins the upload of a large object, part by part.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn write_large(&self, path: &str) -> Result<LargeUpload, Error> {
        let begun = self.store.put_multipart(&self.path(path)).await;
        let begun = begun.map_err(|error| self.context.error("writing", path, &error))?;
        Ok(LargeUpload::new(begun, path.to_owned(), self.context.clone()))
    }

    /// Removes objects; a missing object is no error.
    ///
    /// # Errors
    /// [`Error`]; some objects may be gone by then.
    pub async fn remove(&self, paths: impl IntoIterator<Item = String>) -> Result<(), Error> {
        let locations: Vec<_> = paths.into_iter().map(|path| Ok(self.path(&path))).collect();
        let mut removed = self.store.delete_stream(Box::pin(stream::iter(locations)));
        while let Some(result) = removed.next().await {
            match result {
                Ok(_) => {}
                Err(error) if error::is_missing_object(&error) => {}
                Err(error) => return Err(self.context.error("removing objects below", "", &error)),
            }
        }
        Ok(())
    }
}

fn entry(path: String, meta: &object_store::ObjectMeta) -> Entry {
    let written_s = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
    Entry { path, size: meta.size, written_s }
}

/// Returns true if credentials are configured; otherwise the metadata service of the machine is asked.
fn has_credentials(variables: &Variables) -> bool {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ];
    names.iter().any(|name| variables.contains_key(*name))
}
