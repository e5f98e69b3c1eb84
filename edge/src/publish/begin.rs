//! The first half of a push: its manifest is checked, what is missing is said, blobs come in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use devanture_config::api::{DeployBegun, DeployOptions, Source};
use devanture_config::counted;
use devanture_config::digest::{BadIdPrefix, IdPrefix};
use devanture_config::manifest::BadManifest;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ROUTES_MAX, UpstreamUrl};
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use metrics::counter;
use rand::RngCore as _;

use super::pushes::{Push, Received};
use super::{CheckedPush, Publisher};
use crate::blobs::{Key, Upload};
use crate::catalog::records::{self, VersionRecord};
use crate::ledger::{Actor, Error, lost, stored_manifest};
use crate::proxy;
use crate::proxy::address::{self, Policy};
use crate::telemetry;
use devanture_config::api::Scope;

/// Longest message, commit and branch of a push, in characters: they are kept in the history for good.
pub const SOURCE_CHARACTERS_MAX: usize = 4_096;

/// A blob that is coming in for a push.
pub struct Receiving {
    upload: Box<dyn Upload>,
    app: AppName,
    deploy: String,
    digest: Digest,
    size: u64,
    left: u64,
    /// When the last bytes came, in milliseconds since 1970: no later than the file is put.
    came_ms: u64,
}

impl Publisher {
    /// Begins a push to an environment, and says which blobs are missing.
    ///
    /// # Errors
    /// Whatever is wrong with the manifest; nothing is stored then.
    pub async fn begin(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        push: CheckedPush,
    ) -> Result<DeployBegun, Error> {
        let CheckedPush { manifest, version, source, options, memory } = push;
        self.check_smoke(&manifest)?;
        self.check_serving(actor, &manifest).await?;
        self.check_backend(actor, &manifest)?;
        match &options.alias {
            Some(alias) => self.environments.check_alias(actor, app, alias, options.alias_expires).await?,
            None => self.ledger.check_place(app, environment).await?,
        }
        self.environments.check_may_make(app, environment).await?;
        let is_switching = !options.no_switch && options.alias.is_none();
        if is_switching {
            self.check_parts_stay(app, environment, &manifest, options.allow_warnings)?;
        }
        self.environments.check_hostnames(actor, app, environment, &manifest, is_switching).await?;
        let wanted: HashMap<Digest, u64> = manifest.blobs().collect();
        // Before the answer says what is there: it stays there until the push has ended.
        let lease = self.ledger.leases.bundle(version, &manifest).await;
        let missing = self.uploads.owned.missing(app, &wanted).await?;
        self.check_free_space(app, version, missing.is_empty()).await?;
        let missing = missing.into_iter().filter_map(|digest| Some((digest, *wanted.get(&digest)?))).collect();
        drop(wanted);
        let live = match &options.alias {
            Some(alias) => self.environments.aliased(app, alias).await?,
            None => self.ledger.live_version_id(app, environment).await?,
        };
        let (begun, id) = self.new_deploy();
        let push = self.uploads.pushes.add(Push {
            id,
            app: app.clone(),
            environment: environment.clone(),
            version,
            manifest,
            source,
            options,
            actor: actor.clone(),
            begun,
            missing,
            received: std::sync::Mutex::new(Received::default()),
            memory,
            _lease: lease,
        })?;
        let mut missing: Vec<Digest> = push.missing.keys().copied().collect();
        missing.sort_unstable();
        Ok(DeployBegun { deploy: push.id.clone(), version, missing, live })
    }

    /// Takes in one blob of a push.
    ///
    /// # Errors
    /// `not_found` where there is no such push, `forbidden` where it is for an environment that is not the actor's,
    /// `bad_request` where its manifest does not name the blob.
    pub async fn receive(
        &self,
        actor: &Actor,
        app: &AppName,
        deploy: &str,
        digest: Digest,
    ) -> Result<Receiving, Error> {
        let push = self.uploads.pushes.find(app, deploy)?;
        actor.may(Scope::Push, app, Some(&push.environment))?;
        let named = || push.manifest.blobs().find(|(named, _)| *named == digest).map(|(_, size)| size);
        let Some(size) = push.missing.get(&digest).copied().or_else(named) else {
            let detail = format!("The manifest of this push does not name the blob {digest}.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        };
        let upload = self.blobs.upload(Key::Blob(digest)).await?;
        let (app, deploy, came_ms) = (app.clone(), deploy.to_owned(), telemetry::now_ms());
        Ok(Receiving { upload, app, deploy, digest, size, left: size, came_ms })
    }

    /// Ends what [`Publisher::receive`] began, once all bytes were given to [`Receiving::write`].
    ///
    /// # Errors
    /// `blob_mismatch` where the bytes are not those of the digest; nothing is stored then.
    pub async fn received(&self, receiving: Receiving) -> Result<(), Error> {
        if receiving.left > 0 {
            let came = receiving.size - receiving.left;
            return Err(Problem::new(
                Code::BlobMismatch,
                format!("The blob {} was promised with {} bytes, but {came} came.", receiving.digest, receiving.size),
            )
            .hint("send it again")
            .into());
        }
        receiving.upload.finish().await?;
        self.uploads.owned.add(&receiving.app, receiving.digest).await?;
        let push = self.uploads.pushes.find(&receiving.app, &receiving.deploy)?;
        let is_new = {
            let mut received = push.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let is_new = received.blobs.insert(receiving.digest);
            if is_new {
                received.bytes = received.bytes.saturating_add(receiving.size);
            }
            is_new
        };
        if is_new {
            counter!("devanture_push_bytes_total", "app" => receiving.app.to_string()).increment(receiving.size);
            self.uploads.note_sent(&push, receiving.digest, receiving.size, receiving.came_ms).await;
        }
        Ok(())
    }

    /// The number and the id of a push that begins now.
    pub(crate) fn new_deploy(&self) -> (u64, String) {
        let begun = self.ledger.tick();
        let mut random = [0; 4];
        rand::rng().fill_bytes(&mut random);
        (begun, format!("{begun:x}{}", hex::encode(random)))
    }

    /// Checks that no two paths are one on a system whose file names have no case.
    pub(crate) fn check_cases(manifest: &Manifest, options: &DeployOptions) -> Result<(), Error> {
        let Some((path, other)) = manifest.case_collision().filter(|_| !options.allow_warnings) else { return Ok(()) };
        let detail = format!("`{path}` and `{other}` differ in nothing but their case.");
        Err(Problem::new(Code::CaseCollision, detail)
            .hint("rename one of them: on many systems they are one file; --allow-warnings lets both pass")
            .into())
    }

    pub(crate) fn check_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        manifest.check().map_err(|error| {
            let code = if error == BadManifest::Empty { Code::EmptyBundle } else { Code::BadManifest };
            Problem::new(code, format!("{error}."))
        })?;
        let limits = &self.limits;
        let beyond = |code, what: String, limit: &str| -> Result<(), Error> {
            let problem = Problem::new(code, what);
            Err(problem.hint(format!("`{limit}` in edge.toml is the limit")).into())
        };
        let too_large = |what, limit: &str| beyond(Code::BundleTooLarge, what, limit);
        let count = u64::try_from(manifest.files_count()).unwrap_or(u64::MAX);
        if count > limits.bundle_files_max {
            return too_large(
                format!("The bundle has {}; {} are allowed.", counted(count, "file"), limits.bundle_files_max),
                "bundle_files_max",
            );
        }
        let bytes = manifest.total_bytes();
        if bytes > limits.bundle_bytes_max {
            return too_large(
                format!("The bundle has {bytes} bytes; {} are allowed.", limits.bundle_bytes_max),
                "bundle_bytes_max",
            );
        }
        let pages = manifest.files.iter().map(|(path, file)| (path, file.size));
        let server = manifest.server.iter().flat_map(|folder| {
            let links = folder.links.keys().map(|path| (path, 0));
            folder.files.iter().map(|(path, file)| (path, file.size)).chain(links)
        });
        for (path, size) in pages.chain(server) {
            let path = path.as_str();
            let longest = path.split('/').map(str::len).max().unwrap_or(0);
            if exceeds(path.len(), limits.path_bytes_max) {
                return beyond(
                    Code::PathTooLong,
                    format!("A path of the bundle has {} bytes; {} are allowed.", path.len(), limits.path_bytes_max),
                    "path_bytes_max",
                );
            }
            if exceeds(longest, limits.segment_bytes_max) {
                return beyond(
                    Code::PathTooLong,
                    format!("A segment of `{path}` has {longest} bytes; {} are allowed.", limits.segment_bytes_max),
                    "segment_bytes_max",
                );
            }
            if size > limits.file_bytes_max {
                return too_large(
                    format!("`{path}` has {size} bytes; {} are allowed.", limits.file_bytes_max),
                    "file_bytes_max",
                );
            }
        }
        Ok(())
    }

    /// Checks what the manifest says about serving that this actor may not say: upstreams.
    pub(crate) async fn check_serving(&self, actor: &Actor, manifest: &Manifest) -> Result<(), Error> {
        let trusted = |place: Option<&PlaceName>| match place {
            Some(place) => actor.is_admin_in(place),
            // The base is part of every environment; where its admin has no say, the switch looks at it.
            None => actor.scope == Scope::Admin,
        };
        let mut addresses: BTreeMap<&UpstreamUrl, bool> = BTreeMap::new();
        let tables = manifest.env.iter().map(|(place, table)| (Some(place), table));
        for (place, table) in tables.chain([(None, &manifest.base)]) {
            for to in table.backends() {
                *addresses.entry(to).or_insert(true) &= trusted(place);
            }
        }
        if addresses.len() > ROUTES_MAX {
            let detail = format!("Routes and upstreams name {} backends; {ROUTES_MAX} are the most.", addresses.len());
            return Err(Problem::new(Code::BadManifest, detail).into());
        }
        for (to, trusted) in addresses {
            let policy = Policy { trusted, ..self.upstreams.clone() };
            address::check_at_publish(&policy, to).await?;
        }
        for (name, declared) in manifest.tables().filter_map(|table| table.upstreams.as_ref()).flatten() {
            if let Err(why) = proxy::tls::check(&declared.pool()) {
                let detail = format!("The upstream `{name}`: {why}.");
                return Err(Problem::new(Code::BadManifest, detail).into());
            }
        }
        Ok(())
    }
}

impl Publisher {
    /// Checks that a version stored by an admin of some environments alone reaches nothing private from another one.
    ///
    /// # Errors
    /// `upstream_forbidden`.
    pub(crate) async fn check_stored_reach(
        &self,
        app: &AppName,
        version: VersionId,
        environment: &PlaceName,
    ) -> Result<(), Error> {
        let key = records::version_key(app, &version);
        let record = self.catalog.get(&key).await?;
        let record: Option<VersionRecord> = record.map(|record| records::read(&key, &record)).transpose()?;
        if record.is_none_or(|record| record.trusted_in.is_empty() || record.is_trusted_in(environment.as_str())) {
            return Ok(());
        }
        let serving = stored_manifest(&*self.blobs, version).await?.serving_for(environment.as_str());
        for to in serving.backends() {
            address::check_at_publish(&self.upstreams, to).await?;
        }
        Ok(())
    }
}

impl Publisher {
    /// Checks that there is room for what a push brings, before any of it is sent; a version that is stored already
    /// needs none.
    async fn check_free_space(&self, app: &AppName, version: VersionId, is_whole: bool) -> Result<(), Error> {
        let is_stored = is_whole && self.catalog.get(&records::version_key(app, &version)).await?.is_some();
        if is_stored { Ok(()) } else { self.must_have_room().await }
    }

    /// Checks that anything new may be stored.
    ///
    /// # Errors
    /// `disk_full`.
    pub(super) async fn must_have_room(&self) -> Result<(), Error> {
        let blobs = Arc::clone(&self.blobs);
        let checked = tokio::task::spawn_blocking(move || blobs.check_free_space()).await;
        Ok(checked.map_err(|error| lost(&error))??)
    }
}

impl Receiving {
    /// Adds bytes.
    ///
    /// # Errors
    /// `blob_mismatch` where more come than the manifest says; `disk_full`.
    pub async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), Error> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(more).ok_or_else(|| {
            Problem::new(
                Code::BlobMismatch,
                format!("More bytes came for the blob {} than the manifest says.", self.digest),
            )
        })?;
        self.came_ms = telemetry::now_ms();
        self.upload.write(bytes).await?;
        Ok(())
    }
}

/// Checks that a text can be a version's id at all, before anything is sent for it.
///
/// # Errors
/// `bad_request`.
pub fn check_if_live(typed: &str) -> Result<(), Error> {
    let wrong = |error: BadIdPrefix| Problem::new(Code::BadRequest, format!("`if_live`: {error}."));
    Ok(typed.parse::<IdPrefix>().map(|_fine| ()).map_err(wrong)?)
}

/// Checks what a push says of where it comes from.
///
/// # Errors
/// `bad_request`.
pub fn check_source(source: &Source) -> Result<(), Error> {
    let texts = [
        ("message", &source.message),
        ("commit", &source.commit),
        ("branch", &source.branch),
        ("ci", &source.ci),
        ("url", &source.url),
    ];
    for (name, text) in texts {
        if text.as_ref().is_some_and(|text| text.chars().count() > SOURCE_CHARACTERS_MAX) {
            let detail = format!("The {name} of the push has more than {SOURCE_CHARACTERS_MAX} characters.");
            return Err(Problem::new(Code::BadRequest, detail).hint("say it shorter").into());
        }
        // It stands in colleagues' terminals, and in one line of a log.
        let is_told = |c: char| !c.is_control() || (name == "message" && matches!(c, '\n' | '\t'));
        if text.as_ref().is_some_and(|text| !text.chars().all(is_told)) {
            let detail = format!("The {name} of the push holds a control character.");
            return Err(Problem::new(Code::BadRequest, detail).hint("leave it out").into());
        }
    }
    Ok(())
}

fn exceeds(length: usize, max: u64) -> bool {
    u64::try_from(length).is_ok_and(|length| length > max)
}
