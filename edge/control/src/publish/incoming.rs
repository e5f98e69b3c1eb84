//! Incoming manifests: small manifests are parsed in place, large manifests on a blocking thread as they arrive. Memory
//! is counted (law 11).

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use devanture_config::api::{BeginDeploy, DeployOptions, IncomingDeploy, Source};
use devanture_config::manifest::{BadManifest, FILES_MEMORY_FACTOR, SETTINGS_MEMORY_FACTOR};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Manifest, PlaceName, VersionId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::admission::{check_cases, check_options, check_source};
use super::joined::Joined;
use super::publisher::Publisher;
use super::pushes::ManifestHold;
use crate::ledger::{Error, lost};
use crate::switch::check_if_live;
use devanture_base::fair::Share;

/// Longest body of a manifest or other JSON, in bytes, without a permit for large bodies; equals the limit of a request
/// head.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Chunks queued for the parser; a faster client waits.
const CHUNKS: usize = 4;

/// Incoming manifest.
pub struct ManifestIntake {
    publisher: Arc<Publisher>,
    app: AppName,
    environment: PlaceName,
    amend: Amend,
    stage: Stage,
    bytes: u64,
}

/// Adds options of the request to the options in the manifest's message.
type Amend = Box<dyn FnOnce(&mut BeginDeploy) + Send>;

enum Stage {
    /// Bytes received so far.
    Small(BytesMut),
    /// A thread parses the bytes.
    Large(mpsc::Sender<Bytes>, JoinHandle<Result<CheckedPush, Error>>),
}

/// Push with a parsed and checked manifest.
pub struct CheckedPush {
    pub(super) manifest: Arc<Manifest>,
    pub(super) version: VersionId,
    pub(super) source: Source,
    pub(super) options: DeployOptions,
    pub(super) memory: ManifestHold,
    /// Result of joining a half.
    pub(super) joined: Option<Joined>,
}

impl Publisher {
    /// Starts the intake of a push's manifest; `amend` adds options of the request before the checks.
    #[must_use]
    pub fn manifest_intake(
        self: &Arc<Self>,
        (app, environment): (&AppName, &PlaceName),
        amend: impl FnOnce(&mut BeginDeploy) + Send + 'static,
    ) -> ManifestIntake {
        let stage = Stage::Small(BytesMut::new());
        let (publisher, app, environment) = (Arc::clone(self), app.clone(), environment.clone());
        ManifestIntake { publisher, app, environment, amend: Box::new(amend), stage, bytes: 0 }
    }

    /// Runs all checks that need only the push itself.
    ///
    /// # Errors
    /// `bad_manifest`, `empty_bundle`, `bundle_too_large`, `path_too_long`, `case_collision`, `bad_request`.
    pub(crate) fn checked(&self, begin: BeginDeploy, memory: ManifestHold) -> Result<CheckedPush, Error> {
        let BeginDeploy { manifest, source, options } = begin;
        check_source(&source, &self.ledger.limits())?;
        options.if_live.as_deref().map_or(Ok(()), check_if_live)?;
        self.switcher.check_watch(options.watch_s)?;
        check_options(&options)?;
        let manifest = match options.only {
            // Checked after the join: a half may refer to declarations of the other half.
            Some(half) => half.of(&manifest),
            None => {
                self.check_manifest(memory.app(), &manifest)?;
                manifest
            }
        };
        check_cases(&manifest, &options)?;
        let (version, manifest) = (manifest.id(), Arc::new(manifest));
        Ok(CheckedPush { version, manifest, source, options, memory, joined: None })
    }

    /// Reserves memory for a manifest; idle pushes are evicted if memory is short, see [`super::pushes::Pushes`].
    pub(super) fn grow(&self, memory: &mut ManifestHold, bytes: u64) -> Result<(), Error> {
        loop {
            match memory.grow(bytes) {
                Err(_full) if self.uploads.pushes.give_way(memory) => {}
                grown => return grown,
            }
        }
    }

    fn read_manifest(&self, from: impl Read, memory: ManifestHold, amend: Amend) -> Result<CheckedPush, Error> {
        let mut reader = Counting { from, publisher: self, memory, refused: None, first: None };
        // Buffered: the parser reads single bytes.
        let read = serde_json::from_reader::<_, IncomingDeploy>(BufReader::new(&mut reader));
        let Counting { mut memory, refused, first, .. } = reader;
        refused.map_or(Ok(()), Err)?;
        let incoming = read.map_err(|error| unreadable(&error))?;
        check_object(first)?;
        let settings_bytes_max = self.ledger.limits().manifest_settings_bytes_max;
        let settings = incoming.manifest.settings_bytes().min(settings_bytes_max);
        self.grow(&mut memory, settings.saturating_mul(SETTINGS_MEMORY_FACTOR))?;
        let mut begin = incoming.read(settings_bytes_max).map_err(|error| {
            let problem = |code| Problem::new(code, format!("{error}."));
            match error {
                BadManifest::Json(_) => problem(Code::BadRequest),
                BadManifest::Twice(_) => problem(Code::DuplicatePath).hint("keep one of the two entries"),
                BadManifest::Settings { .. } => {
                    problem(Code::BadManifest).hint("`manifest_settings_bytes_max` in edge.toml is the limit")
                }
                _ => problem(Code::BadManifest),
            }
        })?;
        amend(&mut begin);
        self.checked(begin, memory)
    }
}

impl ManifestIntake {
    /// Adds bytes.
    ///
    /// # Errors
    /// `too_large`, `busy`, and errors of [`ManifestIntake::end`] as soon as detected.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let bytes_max = self.publisher.ledger.limits().manifest_bytes_max;
        if self.bytes > bytes_max {
            return Err(Problem::new(Code::TooLarge, format!("The body is longer than {bytes_max} bytes."))
                .hint("`manifest_bytes_max` in edge.toml is the limit")
                .into());
        }
        let bytes = match &mut self.stage {
            Stage::Small(all) => {
                all.extend_from_slice(&bytes);
                if all.len() <= SMALL_BODY_BYTES_MAX {
                    return Ok(());
                }
                let all = std::mem::take(all).freeze();
                self.start()?;
                all
            }
            Stage::Large(..) => bytes,
        };
        let Stage::Large(chunks, _) = &self.stage else { return Ok(()) };
        if chunks.send(bytes).await.is_ok() {
            return Ok(());
        }
        // The parser stopped before the end of the body, with an error.
        let Stage::Large(_, reading) = std::mem::replace(&mut self.stage, Stage::Small(BytesMut::new())) else {
            return Ok(());
        };
        let ended = reading.await.map_err(|error| lost(&error))?;
        Err(ended.err().unwrap_or_else(|| Problem::new(Code::BadJson, "Something follows the manifest.").into()))
    }

    /// Ends the manifest.
    ///
    /// # Errors
    /// `bad_json`, `bad_request`, `busy`, and errors of the manifest.
    pub async fn end(self) -> Result<CheckedPush, Error> {
        match self.stage {
            Stage::Small(all) => {
                let memory = self.publisher.uploads.manifest_memory.hold(&self.app, &self.environment);
                self.publisher.read_manifest(&*all, memory, self.amend)
            }
            Stage::Large(chunks, reading) => {
                drop(chunks);
                reading.await.map_err(|error| lost(&error))?
            }
        }
    }

    /// Starts the parsing thread.
    fn start(&mut self) -> Result<(), Error> {
        let place = self.publisher.uploads.manifests_reading.take_in(&self.app, self.environment.as_str()).ok_or_else(
            || {
                Problem::new(Code::Busy, format!("The edge takes no more manifests of the app {} now.", self.app))
                    .hint("try again in a moment; half of `manifests_reading_max` in edge.toml is the limit of one environment")
            },
        )?;
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let memory = self.publisher.uploads.manifest_memory.hold(&self.app, &self.environment);
        let publisher = Arc::clone(&self.publisher);
        let amend = std::mem::replace(&mut self.amend, Box::new(|_begin| {}));
        let reading = tokio::task::spawn_blocking(move || {
            publisher.read_manifest(Chunks { receiver, chunk: Bytes::new(), _place: place }, memory, amend)
        });
        self.stage = Stage::Large(sender, reading);
        Ok(())
    }
}

/// Chunks of a body, read by a blocking thread.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
    _place: Share,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            let Some(chunk) = self.receiver.blocking_recv() else { return Ok(0) };
            self.chunk = chunk;
        }
        let length = self.chunk.len().min(into.len());
        self.chunk.copy_to_slice(into.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Reserves memory for parsed values ahead of the bytes read.
struct Counting<'a, R> {
    from: R,
    publisher: &'a Publisher,
    memory: ManifestHold,
    refused: Option<Error>,
    /// First byte other than white space.
    first: Option<u8>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        let read = into.get(..length).unwrap_or_default();
        self.first = self.first.or_else(|| read.trim_ascii_start().first().copied());
        let bytes = (length as u64).saturating_mul(FILES_MEMORY_FACTOR);
        if let Err(busy) = self.publisher.grow(&mut self.memory, bytes) {
            self.refused = Some(busy);
            return Err(io::Error::other("there is no memory for the manifest"));
        }
        Ok(length)
    }
}

/// Checks that JSON is an object, by its first byte: the parser would also accept an array of the members in order.
pub(crate) fn check_object(first: Option<u8>) -> Result<(), Error> {
    if first == Some(b'{') { Ok(()) } else { Err(Problem::new(Code::BadRequest, "The body is no object.").into()) }
}

/// Returns the problem of malformed or unexpected JSON.
pub(crate) fn unreadable(error: &serde_json::Error) -> Error {
    let code = if error.is_data() { Code::BadRequest } else { Code::BadJson };
    Problem::new(code, format!("The body cannot be read: {error}.")).into()
}
