//! First half of a push: check of the manifest, list of missing blobs, receipt of blobs.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use devanture_base::clock;
use devanture_base::fair::Share;
use devanture_config::api::{DeployBegun, DeployPrediction, Scope};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::Image;
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use devanture_store::blobs::{Key, ReadAt, Upload};
use devanture_store::records::{self, LivePointer};

use super::elsewhere;
use super::incoming::CheckedPush;
use super::publisher::Publisher;
use super::pushes::{Began, Push, Received};
use crate::aliases::{AliasOutcome, AliasRequestContext, check_expected_alias};
use crate::ledger::{Actor, Condition, Error, Lease, lost};
use crate::switch::{Steps, check_expected, check_no_canary};

/// Incoming blob of a push.
pub struct Receiving {
    upload: Box<dyn Upload>,
    app: AppName,
    deploy: String,
    digest: Digest,
    size: u64,
    left: u64,
    /// Arrival of the last bytes, in milliseconds since 1970; never after the file is stored.
    came_ms: u64,
    /// Permit of a concurrent blob.
    _share: Share,
}

/// Admitted push.
struct Admitted {
    /// Blobs not yet sent by the app, with their sizes.
    missing: HashMap<Digest, u64>,
    /// Live version, or the version of the alias.
    live: Option<VersionId>,
    /// Held until the end of the push, so that present blobs stay.
    lease: Lease,
}

impl Publisher {
    /// Begins a push to an environment, and returns the missing blobs.
    ///
    /// # Errors
    /// Errors of the manifest; `storage_full`, `too_many_pushes`. Nothing is stored.
    pub async fn begin(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        push: CheckedPush,
    ) -> Result<DeployBegun, Error> {
        let (push, image) = self.with_fixed_image(actor, (app, environment), push).await?;
        self.ledger.catch_up(app, environment).await?;
        let push = self.joined(actor, (app, environment), push).await?;
        self.environments.signing.check_signatures(app, &push.version, &push.options.signatures)?;
        let app_made_ms = self.ledger.made_ms_of(app).await?;
        let Admitted { missing, live, lease } = self.admit(actor, (app, environment), &push).await?;
        self.check_pushes(app)?;
        let CheckedPush { manifest, version, source, options, memory, joined } = push;
        let (number, id) = self.new_deploy();
        let push = self.uploads.pushes.add(Push {
            id,
            app: app.clone(),
            environment: environment.clone(),
            version,
            manifest,
            joined,
            source,
            options,
            actor: actor.clone(),
            began: Began { number, revision: self.revision(), app_made_ms },
            missing,
            named: OnceLock::new(),
            received: parking_lot::Mutex::new(Received::default()),
            memory,
            _lease: lease,
        })?;
        // The missing bytes are counted together with the push, so that two concurrent pushes cannot both get the last
        // bytes.
        let admitted = match self.check_stored_bytes(app, &push.missing).await {
            Ok(()) => self.count_push(app),
            refused => refused,
        };
        if let Err(refused) = admitted {
            drop(self.uploads.pushes.take(app, &push.id));
            return Err(refused);
        }
        Ok(DeployBegun {
            deploy: push.id.clone(),
            version,
            missing: sorted(&push.missing),
            live,
            batch: Some(self.batch_limits()),
            with: push.with(),
            image,
        })
    }

    /// Dry run of [`Publisher::begin`], with the refusals of its switch for `if_live`, a canary and signatures. No push
    /// begins.
    ///
    /// # Errors
    /// As [`Publisher::begin`]; `live_moved`, `canary_running`, `not_signed`.
    pub async fn predict(
        &self,
        actor: &Actor,
        app: &AppName,
        environment: &PlaceName,
        push: CheckedPush,
    ) -> Result<DeployPrediction, Error> {
        self.ledger.catch_up(app, environment).await?;
        let push = self.joined(actor, (app, environment), push).await?;
        self.environments.signing.check_signatures(app, &push.version, &push.options.signatures)?;
        let Admitted { missing, live, .. } = self.admit(actor, (app, environment), &push).await?;
        self.check_pushes(app)?;
        self.check_stored_bytes(app, &missing).await?;
        let options = &push.options;
        match (options.if_live.as_deref(), &options.alias) {
            (Some(expected), Some(alias)) => check_expected_alias(expected, alias, live)?,
            (Some(expected), None) if !options.no_switch => check_expected(expected, environment, live)?,
            (_, _) => {}
        }
        if options.alias.is_none() && !options.no_switch {
            self.predict_switch((app, environment), &push).await?;
        }
        let with = push.joined.as_ref().and_then(|joined| joined.with);
        Ok(DeployPrediction { dry_run: true, version: push.version, missing: sorted(&missing), live, with })
    }

    /// Predicts refusals of the switch for a running canary or missing signatures. A push to a locked environment is
    /// stored without a switch.
    ///
    /// # Errors
    /// `canary_running`, `not_signed`.
    async fn predict_switch(&self, place: (&AppName, &PlaceName), push: &CheckedPush) -> Result<(), Error> {
        let live = self.ledger.live_pointer(place.0, place.1).await?.map(|(_, pointer)| pointer);
        let live = live.filter(LivePointer::is_known);
        if live.as_ref().is_some_and(|live| live.version == push.version) {
            return Ok(());
        }
        check_no_canary(place.1, live.as_ref())?;
        if self.environments.places.locked(place.0, place.1).await?.is_some() {
            return Ok(());
        }
        self.environments.signing.predict_signed(place, &push.version, &push.options.signatures).await
    }

    /// Checks a new push, and finds its missing blobs.
    async fn admit(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        push: &CheckedPush,
    ) -> Result<Admitted, Error> {
        let CheckedPush { manifest, version, options, joined, .. } = push;
        let own = joined.as_ref().map_or(manifest, |joined| &joined.own);
        self.check_bundle(actor, (app, environment), (manifest, own), options).await?;
        // Taken before the response lists missing blobs: present blobs must stay until the push ends.
        let lease = self.ledger.leases.bundle(*version, manifest).await;
        let (_, missing) = self.missing_of(app, own).await?;
        self.check_room(app, *version, missing.is_empty()).await?;
        let live = match &options.alias {
            Some(alias) => self.environments.aliases.aliased(app, alias).await?,
            None => self.ledger.live_version_id(app, environment).await?,
        };
        Ok(Admitted { missing, live, lease })
    }

    /// Receives a blob of a push.
    ///
    /// # Errors
    /// `not_found` for an unknown push, `forbidden` for an environment outside the actor's rights, `bad_request` for a
    /// blob outside the manifest, `busy` beyond the limit of concurrent blobs.
    pub async fn receive(
        &self,
        actor: &Actor,
        app: &AppName,
        deploy: &str,
        digest: Digest,
    ) -> Result<Receiving, Error> {
        let push = self.uploads.pushes.find(app, deploy)?;
        actor.may(Scope::Push, app, Some(&push.environment))?;
        push.check_owner(actor)?;
        let Some(size) = push.size_of(&digest) else {
            let detail = format!("The manifest of this push does not name the blob {digest}.");
            return Err(Problem::new(Code::BadRequest, detail).into());
        };
        let share = self.uploads.receiving.take_in(app, push.environment.as_str()).ok_or_else(|| {
            Problem::new(Code::Busy, format!("The edge takes no more blobs of the app {app} now.")).hint(
                "try again in a moment; `blobs_receiving_max` in edge.toml is the limit, and half of it for one environment",
            )
        })?;
        let upload = self.blobs_of(app).upload(Key::Blob(digest)).await?;
        let (app, deploy, came_ms) = (app.clone(), deploy.to_owned(), clock::now_ms());
        Ok(Receiving { upload, app, deploy, digest, size, left: size, came_ms, _share: share })
    }

    /// Completes [`Publisher::receive`], after all bytes were passed to [`Receiving::write`].
    ///
    /// # Errors
    /// `blob_mismatch` if the bytes do not match the digest; nothing is stored.
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
        let blobs = [(receiving.digest, receiving.size)];
        self.arrived(&receiving.app, &receiving.deploy, &blobs, receiving.came_ms).await
    }

    /// Returns number and id of a new push.
    pub(crate) fn new_deploy(&self) -> (u64, String) {
        let begun = self.ledger.tick();
        (begun, format!("{begun:x}{}{:02x}", elsewhere::tag_of(&self.switcher.node), rand::random::<u8>()))
    }

    /// Checks the space for a push before any blob is sent. A stored version needs no space.
    async fn check_room(&self, app: &AppName, version: VersionId, is_whole: bool) -> Result<(), Error> {
        let is_stored = self.ledger.catalog.get(&records::version_key(app, &version)).await?.is_some();
        if !is_stored {
            // Its end checks this again; the files of one that is refused have no need to come.
            self.environments.places.check_version_count(app).await?;
        }
        if is_stored && is_whole { Ok(()) } else { self.must_have_room().await }
    }

    /// Checks the space for new files.
    ///
    /// # Errors
    /// `disk_full`.
    pub(super) async fn must_have_room(&self) -> Result<(), Error> {
        let blobs = Arc::clone(&self.blobs);
        let checked = tokio::task::spawn_blocking(move || blobs.check_free_space()).await;
        Ok(checked.map_err(|error| lost(&error))??)
    }
}

fn sorted(missing: &HashMap<Digest, u64>) -> Vec<Digest> {
    let mut digests: Vec<Digest> = missing.keys().copied().collect();
    digests.sort_unstable();
    digests
}

impl Receiving {
    /// Adds bytes.
    ///
    /// # Errors
    /// `blob_mismatch` beyond the size in the manifest; `disk_full`.
    pub async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), Error> {
        let more = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(more).ok_or_else(|| {
            Problem::new(
                Code::BlobMismatch,
                format!("More bytes came for the blob {} than the manifest says.", self.digest),
            )
        })?;
        self.came_ms = clock::now_ms();
        self.upload.write(bytes).await?;
        Ok(())
    }
}

// Alias of a push.

impl Publisher {
    /// Points an alias at the pushed version.
    pub(crate) async fn push_alias(
        &self,
        push: &Push,
        name: &PlaceName,
        steps: &mut Steps,
    ) -> Result<AliasOutcome, Error> {
        let options = &push.options;
        let aliasing = AliasRequestContext {
            app: &push.app,
            name,
            version: push.version,
            actor: &push.actor,
            expires: options.alias_expires,
            push: Some((push.began.number, options.force)),
            half: push.following().map(|joined| (joined.half, joined.with)),
            environment: Some(&push.environment),
            if_live: options.if_live.as_deref(),
            condition: &Condition::default(),
        };
        let point = async {
            let aliased = self.environments.aliases.point_alias(&aliasing).await?;
            let to = push.version.short();
            let detail = match aliased.previous {
                Some(previous) if previous == push.version => format!("{name} is {to} already"),
                Some(previous) => format!("{name}: {} → {to}", previous.short()),
                None => format!("{name}: nothing → {to}"),
            };
            Ok((aliased, detail))
        };
        steps.run("alias", point).await
    }
}

// Container image of a pushed backend: a tag is resolved to a digest, which the version records.

impl Publisher {
    /// Checks that the edge may run the bundle's image.
    ///
    /// # Errors
    /// `image_refused`, `runner_off`.
    pub(super) async fn check_image(&self, manifest: &Manifest) -> Result<(), Error> {
        match manifest.image() {
            Some(image) => {
                let checked = self.environments.instances.runner()?.check_image(image).await;
                checked.map_err(|error| self.switcher.named_failure(error.into()))
            }
            None => Ok(()),
        }
    }

    /// Returns the push with its image by digest, and the image if resolved from a tag. Resolving pulls the image, so
    /// all cheaper checks come first.
    ///
    /// # Errors
    /// As [`Publisher::check_bundle`]; `image_refused` for an image unknown to the registry.
    pub(super) async fn with_fixed_image(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        push: CheckedPush,
    ) -> Result<(CheckedPush, Option<Image>), Error> {
        if push.manifest.image().is_none_or(Image::is_fixed) {
            return Ok((push, None));
        }
        self.check_bundle(actor, (app, environment), (&push.manifest, &push.manifest), &push.options).await?;
        self.check_pushes(app)?;
        let mut manifest = Manifest::clone(&push.manifest);
        let image = self.fix_image(app, &mut manifest).await?;
        Ok((CheckedPush { version: manifest.id(), manifest: Arc::new(manifest), ..push }, image))
    }

    /// Replaces a tag in the manifest by the digest.
    pub(super) async fn fix_image(&self, app: &AppName, manifest: &mut Manifest) -> Result<Option<Image>, Error> {
        let Some(server) = manifest.base.server.as_mut() else { return Ok(None) };
        let Some(Image::Registry(image)) = server.image.as_ref().filter(|image| !image.is_fixed()) else {
            return Ok(None);
        };
        let resolved = self.environments.instances.runner()?.resolve_image(app, image).await;
        let fixed = Image::Registry(resolved.map_err(|error| self.switcher.named_failure(error.into()))?);
        server.image = Some(fixed.clone());
        Ok(Some(fixed))
    }
}

// Manifest of a stored version, as sent to readers.

impl Publisher {
    /// Opens the manifest of a stored version, byte for byte, with its length; the version id is the hash of the bytes.
    /// Bytes are read while sent, so that slow clients do not fill the memory with manifests.
    ///
    /// # Errors
    /// `not_found`, `version_collected`; errors of reading the manifest.
    pub async fn open_manifest(&self, app: &AppName, version: &VersionId) -> Result<(Arc<dyn ReadAt>, u64), Error> {
        self.ledger.must_be_stored(app, version).await?;
        let (blobs, key) = (self.blobs_of(app), Key::Manifest(*version));
        let file = blobs.open(key).await?;
        Ok((file, blobs.size(key).await?.unwrap_or(0)))
    }
}
