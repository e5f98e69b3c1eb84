//! The source of a copy: records by the running edge, which has its catalog locked, or from the catalog; files from the
//! data folder or the bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use devanture_config::api::{ChangesPauseRequest, ChangesPaused, RecordsPage};
use devanture_config::edge_toml::{BlobStore, CatalogStore, EdgeFile};
use devanture_config::problem::{Code, Problem};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::server::cluster::home;
use crate::server::data_socket;
use crate::server::error::StartError;
use crate::server::local::{LocalError, NOTHING, SOCKET_NAME, ask, read};
use crate::server::shared_stores;
use crate::server::stores::{data_dir, has_catalog, open_catalog_alone};
use devanture_base::clock;
use devanture_base::durable;
use devanture_control::ledger::{Error, PAUSE_KEY, WritePause, check_finished, pause_changes, resume_changes};
use devanture_control::safekeeping::{RecordSource, StoredFiles};
use devanture_store::catalog::Catalog;
use devanture_store::records::nodes::NODES_PREFIX;
use devanture_store::s3::Waits;

/// Number of records per read from a directly opened catalog.
const PAGE: usize = 256;
/// Longest time of retries without a response of the running edge: a successor may be starting.
const UNANSWERED_MAX: Duration = Duration::from_secs(8);
/// Longest time of retries while the running edge hands over to a successor.
const RESTARTING_MAX: Duration = Duration::from_secs(60);
/// Pause between retries.
const AGAIN: Duration = Duration::from_millis(500);

/// Reason why a copy longer than the pause is not finished.
pub(super) const PAUSE_OVER: &str = "The pause of changes ended before everything was copied.";
/// The hint.
pub(super) const PAUSE_LONGER: &str = "run the copy again with a longer `--pause-for`";

/// The source of a copy.
pub(super) struct Source {
    name: String,
    files: StoredFiles,
    records: Records,
    /// True if other processes may change the records although no edge runs here.
    is_shared: bool,
}

/// Source of the records.
enum Records {
    /// A running edge with the socket.
    Running(PathBuf),
    /// The catalog.
    Stopped(Arc<dyn Catalog>),
}

/// A pause of changes.
pub(super) struct Pause {
    /// The record of the pause, for later checks; `None` if no pause was necessary because no other process has the
    /// catalog.
    pub(super) record: Option<Arc<[u8]>>,
    /// End of the pause; `None` without a running edge.
    pub(super) resumes_ms: Option<u64>,
}

impl Source {
    /// Finds the running edge, or opens the catalog.
    ///
    /// # Errors
    /// Fails if no catalog exists, or the catalog cannot be opened.
    pub(super) async fn open(file: &EdgeFile, base: &Path) -> Result<Self, LocalError> {
        let data_dir = data_dir(file, base);
        let files = match &file.storage.blobs {
            BlobStore::Folder => StoredFiles::Folder(data_dir.clone()),
            BlobStore::S3(s3) => StoredFiles::Bucket(shared_stores::bucket(s3, Waits::BACKUP)?),
        };
        let (name, is_shared) = match &file.storage.catalog {
            CatalogStore::Embedded => (home(&data_dir), false),
            CatalogStore::Etcd(etcd) => (format!("{} in etcd", etcd.prefix), true),
        };
        let socket = data_dir.join(SOCKET_NAME);
        let records = if data_socket::connect(&socket).await.is_ok() {
            Records::Running(socket)
        } else {
            if !is_shared && !has_catalog(&data_dir)? {
                return Err(StartError::CatalogMissing { data_dir: data_dir.display().to_string() }.into());
            }
            durable::make_folder(&data_dir).map_err(StartError::from)?;
            let catalog = open_catalog_alone(file, base).await?;
            check_finished(&*catalog).await?;
            Records::Stopped(catalog)
        };
        Ok(Self { name, files, records, is_shared })
    }

    /// Returns the display name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn files(&self) -> &StoredFiles {
        &self.files
    }

    /// Pauses changes on all nodes. After the return, all earlier changes can be read.
    ///
    /// # Errors
    /// [`LocalError`].
    pub(super) async fn pause(&self, seconds: u64) -> Result<Pause, LocalError> {
        let resumes_ms = match &self.records {
            // The lock of the catalog prevents an edge from starting.
            Records::Stopped(_) if !self.is_shared => return Ok(Pause { record: None, resumes_ms: None }),
            Records::Stopped(catalog) => {
                catalog.refresh().await.map_err(Error::from)?;
                let at_ms = clock::now_ms();
                pause_changes(&**catalog, &WritePause { at_ms, seconds }).await.map_err(Error::from)?;
                let nodes = catalog.list(NODES_PREFIX, None, false, 1).await.map_err(Error::from)?;
                (!nodes.is_empty()).then(|| at_ms.saturating_add(seconds.saturating_mul(1_000)))
            }
            Records::Running(socket) => {
                let request = ChangesPauseRequest { seconds };
                let paused: ChangesPaused = read(&answered(socket, &Method::POST, "/v1/pause", Some(&request)).await?)?;
                Some(paused.resumes_ms)
            }
        };
        let record = Some(lasting(self.pause_record().await?)?);
        Ok(Pause { record, resumes_ms })
    }

    /// Ends the pause.
    ///
    /// # Errors
    /// [`LocalError`].
    pub(super) async fn resume(&self) -> Result<(), LocalError> {
        match &self.records {
            Records::Running(socket) => answered(socket, &Method::DELETE, "/v1/pause", NOTHING).await.map(drop),
            Records::Stopped(catalog) => {
                resume_changes(&**catalog, None).await.map_err(Error::from)?;
                Ok(())
            }
        }
    }

    /// Reads the stored record of the pause.
    ///
    /// # Errors
    /// [`LocalError`].
    pub(super) async fn pause_record(&self) -> Result<Option<Arc<[u8]>>, LocalError> {
        match &self.records {
            Records::Stopped(catalog) => {
                let found = catalog.get(PAUSE_KEY).await.map_err(Error::from)?;
                Ok(found.map(|record| record.value))
            }
            Records::Running(_) => {
                // The page after `before` starts at the key, or shortly before.
                let before = PAUSE_KEY.get(..PAUSE_KEY.len().saturating_sub(1));
                let found = self.page(before).await?.into_iter().find(|(key, _)| key == PAUSE_KEY);
                Ok(found.map(|(_, value)| value))
            }
        }
    }
}

#[async_trait]
impl RecordSource for Source {
    async fn page(&self, after: Option<&str>) -> Result<Vec<(String, Arc<[u8]>)>, Error> {
        match &self.records {
            Records::Stopped(catalog) => {
                let page = catalog.list("", after, false, PAGE).await?;
                Ok(page.into_iter().map(|(key, record)| (key, record.value)).collect())
            }
            Records::Running(socket) => {
                let after = after.map(|after| format!("?after={}", utf8_percent_encode(after, NON_ALPHANUMERIC)));
                let path = format!("/v1/records{}", after.unwrap_or_default());
                let page = async { read::<RecordsPage>(&answered(socket, &Method::GET, &path, NOTHING).await?) };
                let page = page.await.map_err(refused)?;
                let pairs = page.records.into_iter().map(|record| (record.key, record.value.into_bytes().into()));
                Ok(pairs.collect())
            }
        }
    }
}

/// Returns the record of a started pause.
///
/// # Errors
/// `conflict` if the pause has ended already: later changes might go unnoticed.
fn lasting(record: Option<Arc<[u8]>>) -> Result<Arc<[u8]>, Error> {
    let over = || Error::from(Problem::new(Code::Conflict, PAUSE_OVER).hint(PAUSE_LONGER));
    record.ok_or_else(over)
}

/// Queries the running edge, with retries if the edge does not respond.
async fn answered<T: Serialize + Sync>(
    socket: &Path,
    method: &Method,
    path: &str,
    body: Option<&T>,
) -> Result<bytes::Bytes, LocalError> {
    let until = Instant::now() + RESTARTING_MAX;
    let mut silent_until = None;
    loop {
        match ask(socket, method.clone(), path, body).await {
            Err(LocalError::Unanswered(_))
                if Instant::now() < *silent_until.get_or_insert_with(|| Instant::now() + UNANSWERED_MAX) =>
            {
                sleep(AGAIN).await;
            }
            Err(LocalError::Refused(Error(problem))) if problem.code == Code::Restarting && Instant::now() < until => {
                silent_until = None;
                sleep(AGAIN).await;
            }
            answered => return answered,
        }
    }
}

fn refused(error: LocalError) -> Error {
    match error {
        LocalError::Refused(error) => error,
        other => Problem::new(Code::NotReady, format!("{other}.")).hint("start it, or stop it, and copy again").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_over_when_it_is_first_looked_at_is_no_pause() {
        assert_eq!(lasting(None).unwrap_err().0.code, Code::Conflict);
        assert_eq!(*lasting(Some(b"{}".as_slice().into())).unwrap(), *b"{}");
    }
}
