//! Installation and removal of the console: a bundle without an app, stored like any other bundle.

use std::sync::Arc;

use bytes::Bytes;
use devanture_config::api::{ConsoleInstalled, ConsoleStatus};
use devanture_config::limits::Limits;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{HtmlHandling, NotFound, Serving};
use devanture_config::{AppName, Digest, Manifest};

use super::publisher::Publisher;
use crate::archive::{self, FeedReader, HEAD_BYTES, Kind, Piece, Refusal, Sink, bad, feed, unpack_into, untar};
use crate::encode;
use crate::ledger::{Action, Actor, AuditEvent, Error, lost, update};
use devanture_base::clock;
use devanture_serve::live::Console;
use devanture_store::blobs::{Blobs, Key};
use devanture_store::catalog::{Change, Check, Commit, Record};
use devanture_store::records;
use devanture_store::records::console::{CONSOLE_KEY, ConsoleRecord, console};

/// Largest package, in bytes.
pub const CONSOLE_PACKAGE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Largest total of files, in bytes: memory holds all files, in every encoding.
pub(super) const FILES_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most files.
const FILES_MAX: u64 = 1_000;
/// Largest settings file, in bytes; settings are ignored.
const SETTINGS_BYTES_MAX: u64 = 64 * 1024;
/// Rule files, refused since the edge defines the serving rules.
const RULE_FILES: [&str; 2] = ["_headers", "_redirects"];
/// Page served at every address of the console.
const PAGE: &str = "index.html";

/// Sink of a package that is only checked.
#[derive(Default)]
struct Checked {
    has_page: bool,
    bytes: u64,
}

impl Sink for Checked {
    fn put(&mut self, piece: Piece) -> Result<(), Refusal> {
        match piece {
            // A tar may contain all files in one folder.
            Piece::Begin(path) => {
                let below = path.as_str().split_once('/').map(|(_, below)| below);
                self.has_page |= path.as_str() == PAGE || below == Some(PAGE);
            }
            Piece::Bytes(bytes) => {
                self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                if self.bytes > FILES_BYTES_MAX {
                    return Err(bad(format!("The package unpacks to more than {FILES_BYTES_MAX} bytes.")).into());
                }
            }
            Piece::MayRun(_) | Piece::Link(..) | Piece::End => {}
        }
        Ok(())
    }
}

/// Checks a package as far as possible without a store.
///
/// # Errors
/// `bad_archive` and the other codes of archives.
pub async fn check_console_package(package: Bytes) -> Result<(), Error> {
    let (kind, reader) = opened(package)?;
    let check = move || {
        let mut checked = Checked::default();
        untar(kind, reader, (&package_limits(), None), &mut checked).map(|()| checked.has_page)
    };
    match tokio::task::spawn_blocking(check).await.map_err(|error| lost(&error))? {
        Ok(true) => Ok(()),
        Ok(false) => Err(no_page()),
        Err(Refusal::Problem(problem)) => Err(Error(problem)),
        Err(Refusal::BrokenOff) => Err(archive::broken_off()),
    }
}

/// Returns the format of a package, and its bytes for the unpacking thread.
fn opened(package: Bytes) -> Result<(Kind, FeedReader), Error> {
    let head = package.get(..HEAD_BYTES).unwrap_or(&package);
    let kind = Kind::of(head).filter(|kind| *kind != Kind::Zip);
    let kind =
        kind.ok_or_else(|| bad("The package is no tar, tar.gz or tar.zst.").hint("`tools/package-console` makes one"))?;
    let (fed, reader) = feed();
    tokio::spawn(async move {
        // A reader that stops early reports the reason.
        if fed.send(Some(package)).await.is_ok() {
            fed.send(None).await.ok();
        }
    });
    Ok((kind, reader))
}

fn package_limits() -> Limits {
    Limits { bundle_bytes_max: FILES_BYTES_MAX, bundle_files_max: FILES_MAX, ..Limits::default() }
}

fn no_page() -> Error {
    bad(format!("The package has no {PAGE}.")).into()
}

impl Publisher {
    /// Returns the console of the node.
    #[must_use]
    pub fn console(&self) -> &Arc<Console> {
        &self.console
    }

    /// Returns the installed console, and if the node serves the console.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn console_status(&self) -> Result<ConsoleStatus, Error> {
        let record = console(&*self.ledger.catalog).await?.map(|(_, record)| record);
        Ok(status(record, self.console.current().is_some()))
    }

    /// Installs the console from a package: a tar of its files, plain or compressed by gzip or zstd. One commit
    /// replaces the previous console, after all files are stored and the bundle was loaded.
    ///
    /// # Errors
    /// `bad_archive` and the other codes of archives; errors of the stores. The previous console stays.
    pub async fn install_console(&self, actor: &Actor, package: Bytes) -> Result<ConsoleStatus, Error> {
        // Protects the files until the record refers to them.
        let arriving = self.ledger.leases.arriving(clock::now_ms() / 1_000).await;
        let digest = Digest::of(&package);
        let manifest = Arc::new(self.unpack_console(package).await?);
        let version = manifest.id();
        let _held = self.ledger.leases.bundle(version, &manifest).await;
        drop(arriving);
        let pool = self.quick.of(&AppName::console());
        encode::best_of_all(&*self.blobs, &pool, &manifest).await?;
        self.blobs.check_all(manifest.blobs().map(|(blob, _)| blob).collect()).await?;
        self.blobs.put(Key::Manifest(version), manifest.canonical().into()).await?;
        let at_ms = clock::now_ms();
        if let Err(error) = self.switcher.loader.load_console(version, at_ms).await {
            return Err(bad(format!("The console cannot be served: {error}.")).into());
        }
        let record = ConsoleRecord {
            package: digest,
            version: Some(version),
            files: u64::try_from(manifest.files_count()).unwrap_or(u64::MAX),
            bytes: manifest.total_bytes(),
            at_ms,
            who: actor.name.clone(),
        };
        let event = AuditEvent::of(Action::InstallConsole).what(version.short());
        update(CONSOLE_KEY, || async {
            let found = console(&*self.ledger.catalog).await?.map(|(found, _)| found);
            Ok::<_, Error>(self.write_console(actor, event.clone(), found, &record).await?.then_some(()))
        })
        .await?;
        self.show_console().await;
        self.console_status().await
    }

    /// Removes the console. A restart does not install the same package again.
    ///
    /// # Errors
    /// `not_found` without an installed console; errors of the catalog.
    pub async fn remove_console(&self, actor: &Actor) -> Result<ConsoleStatus, Error> {
        update(CONSOLE_KEY, || async {
            let Some((found, mut record)) = console(&*self.ledger.catalog).await? else { return Err(none()) };
            let Some(version) = record.version.take() else { return Err(none()) };
            (record.at_ms, record.who) = (clock::now_ms(), actor.name.clone());
            let event = AuditEvent::of(Action::RemoveConsole).what(version.short());
            Ok(self.write_console(actor, event, Some(found), &record).await?.then_some(()))
        })
        .await?;
        self.show_console().await;
        self.console_status().await
    }

    /// Installs a package, unless the package was the last installed or removed.
    ///
    /// # Errors
    /// As [`Publisher::install_console`].
    pub async fn install_console_once(&self, actor: &Actor, package: Bytes) -> Result<(), Error> {
        let stored = console(&*self.ledger.catalog).await?;
        if stored.is_some_and(|(_, record)| record.package == Digest::of(&package)) {
            return Ok(());
        }
        let status = self.install_console(actor, package).await?;
        if let Some(installed) = status.installed {
            tracing::info!(version = %installed.version, files = installed.files, "a console was installed");
        }
        Ok(())
    }

    async fn write_console(
        &self,
        actor: &Actor,
        event: AuditEvent,
        found: Option<Record>,
        record: &ConsoleRecord,
    ) -> Result<bool, Error> {
        let checks = vec![Check::of(CONSOLE_KEY, found.map(|found| found.revision))];
        let changes = vec![Change::Put(CONSOLE_KEY.to_owned(), records::write(record)?)];
        self.ledger.commit(actor, event, Commit { checks, changes }).await
    }

    /// Serves the committed console, unless `console = "off"`.
    async fn show_console(&self) {
        if let Err(error) = self.console.refresh().await {
            tracing::error!(%error, "the console could not be loaded");
        }
    }

    /// Unpacks a package into the store, and builds the manifest with its serving rules.
    async fn unpack_console(&self, package: Bytes) -> Result<Manifest, Error> {
        let (kind, reader) = opened(package)?;
        let unpack = move |sink: &mut dyn Sink| untar(kind, reader, (&package_limits(), None), sink);
        let (files, ()) = unpack_into(Arc::clone(&self.blobs), (FILES_BYTES_MAX, ()), unpack).await?;
        let app = AppName::console();
        let store: &dyn Blobs = &*self.blobs;
        let unpacked = archive::manifest(store, (&app, None), files, SETTINGS_BYTES_MAX, &mut |_| Ok(())).await?;
        let mut files = unpacked.files;
        files.retain(|path, _| !RULE_FILES.contains(&path.as_str()));
        if !files.keys().any(|path| path.as_str() == PAGE) {
            return Err(no_page());
        }
        let mut manifest = Manifest::of_files(files);
        manifest.base = Serving {
            html_handling: Some(HtmlHandling::AsIs),
            not_found: Some(NotFound::SinglePageApplication),
            ..Serving::default()
        };
        Ok(manifest)
    }
}

fn status(record: Option<ConsoleRecord>, served: bool) -> ConsoleStatus {
    let installed = record.and_then(|record| {
        Some(ConsoleInstalled {
            version: record.version?,
            package: record.package,
            files: record.files,
            bytes: record.bytes,
            installed_ms: record.at_ms,
            who: record.who,
        })
    });
    ConsoleStatus { installed, served }
}

fn none() -> Error {
    Problem::new(Code::NotFound, "No console is installed.").into()
}
