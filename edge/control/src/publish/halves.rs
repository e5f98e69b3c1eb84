//! Pushes of one half: joined with the other half of a stored version, and joined again if another push goes live
//! meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use devanture_config::api::{DeployOptions, Scope};
use devanture_config::manifest::FILES_MEMORY_FACTOR;
use devanture_config::manifest::halves::Half;
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, Manifest, PlaceName, VersionId};
use parking_lot::Mutex;

use super::incoming::CheckedPush;
use super::joined::{Joined, Origin, Rights};
use super::publisher::Publisher;
use super::pushes::ManifestHold;
use super::pushes::Push;
use crate::ledger::{Actor, Error, stored_manifest};
use devanture_store::blobs::Key;
use devanture_store::records::{self, VersionRecord};

impl Publisher {
    /// Converts a push of one half to a push of a whole bundle; other pushes are returned unchanged.
    ///
    /// # Errors
    /// `not_found` or `ambiguous_id` if `with` is no version of the app; `bad_manifest` for incompatible halves; errors
    /// of a manifest beyond the limits; `busy`; `too_many_pushes`.
    pub(super) async fn joined(
        &self,
        actor: &Actor,
        place: (&AppName, &PlaceName),
        mut push: CheckedPush,
    ) -> Result<CheckedPush, Error> {
        if push.options.only.is_none() {
            return Ok(push);
        }
        // Checked before the other half is read, which costs more than a refusal.
        self.check_pushes(place.0)?;
        let joined = self.join(actor, place, &push.manifest, &push.options, &mut push.memory).await?;
        if let Some((joined, manifest)) = joined {
            push.version = manifest.id();
            (push.manifest, push.joined) = (Arc::new(manifest), Some(joined));
        }
        Ok(push)
    }

    /// Joins a half with the other half of a stored version; `None` for a push of a whole bundle.
    ///
    /// # Errors
    /// As [`Publisher::joined`].
    pub(super) async fn join(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        own: &Arc<Manifest>,
        options: &DeployOptions,
        memory: &mut ManifestHold,
    ) -> Result<Option<(Joined, Manifest)>, Error> {
        let Some(half) = options.only else { return Ok(None) };
        let with = match &options.with {
            Some(with) => Some(self.ledger.resolve_version(app, with).await?),
            None => self.followed(actor, (app, environment), options).await?,
        };
        // Reserved before the other half is read, and held as long as both manifests are in memory.
        let bytes = match with {
            Some(version) => self.blobs.size(Key::Manifest(version)).await?.unwrap_or(0),
            None => 0,
        };
        let reading = bytes.saturating_mul(FILES_MEMORY_FACTOR);
        self.grow(memory, reading)?;
        let other = match with {
            Some(version) => stored_manifest(&*self.blobs, version).await?,
            None => Manifest::of_files(BTreeMap::new()),
        };
        let manifest = half.joined_with(own, &other);
        self.grow(memory, manifest.text_bytes().saturating_mul(FILES_MEMORY_FACTOR))?;
        let origin = match with {
            Some(version) => Some(self.origin(app, &version, half, &other).await?),
            None => None,
        };
        drop(other);
        memory.shrink(reading);
        self.check_manifest(app, &manifest).map_err(|Error(problem)| {
            let joined = match with {
                Some(version) => format!("{half} joined with the {} of {}", half.other(), version.short()),
                None => format!("{half} alone, since there is no {} to join it with", half.other()),
            };
            let detail = format!("{joined}: {}", problem.detail);
            let hint = problem.hint.clone().unwrap_or_else(|| {
                "push both halves together, or name the version that the half goes with: `--with ID`".to_owned()
            });
            Error(Box::new(Problem { detail, ..*problem }.hint(hint)))
        })?;
        self.check_joined_bytes(&manifest)?;
        if let Some(version) = with {
            // Also applies to an admin of every app, who vouches only for the pushed half.
            self.switcher.check_stored_reach(app, version, environment, None).await?;
        }
        let joined = Joined { half, own: Arc::clone(own), with, follows: options.with.is_none(), origin };
        Ok(Some((joined, manifest)))
    }

    /// Returns the default version for the other half: the version of the alias if present, else the live version.
    /// Previews have no live version of their own; the live version of `prod` stands in.
    async fn followed(
        &self,
        actor: &Actor,
        (app, environment): (&AppName, &PlaceName),
        options: &DeployOptions,
    ) -> Result<Option<VersionId>, Error> {
        if let Some(alias) = &options.alias
            && let Some(version) = self.environments.aliases.aliased(app, alias).await?
        {
            return Ok(Some(version));
        }
        let live = self.ledger.live_version_id(app, environment).await?;
        let prod = PlaceName::prod();
        let may_follow_prod = environment.is_preview() && actor.may(Scope::Read, app, Some(&prod)).is_ok();
        match live {
            None if may_follow_prod => self.ledger.live_version_id(app, &prod).await,
            live => Ok(live),
        }
    }

    async fn origin(
        &self,
        app: &AppName,
        version: &VersionId,
        half: Half,
        manifest: &Manifest,
    ) -> Result<Origin, Error> {
        let key = records::version_key(app, version);
        // A record deleted meanwhile grants no rights.
        let Some(record) = self.ledger.catalog.get(&key).await? else { return Ok(Origin::default()) };
        let record: VersionRecord = records::read(&key, &record)?;
        let edge_admin = record.is_of_edge_admin();
        let has_withdrawn =
            half == Half::Backend && !self.retention.withdrawn_of(app, version, manifest).await?.is_empty();
        let stored_ms = has_withdrawn.then_some(record.stored_ms);
        let vouched = record.is_vouched();
        let rights = Rights { trusted: record.trusted, trusted_in: record.trusted_in, edge_admin, vouched };
        Ok(Origin { rights, stored_ms })
    }

    /// Limits the size of a joined manifest to the limit of a single manifest.
    fn check_joined_bytes(&self, manifest: &Manifest) -> Result<(), Error> {
        let max = self.ledger.limits().manifest_bytes_max;
        let bytes = manifest.text_bytes();
        if bytes <= max {
            return Ok(());
        }
        let detail = format!("The manifest of both halves has {bytes} bytes; {max} are allowed.");
        Err(Problem::new(Code::TooLarge, detail).hint("`manifest_bytes_max` in edge.toml is the limit").into())
    }

    /// Returns the blobs of a push with their sizes, and those not yet sent by the app. For a push of one half, `own`
    /// is the pushed half: the other half is already stored.
    pub(super) async fn missing_of(
        &self,
        app: &AppName,
        own: &Manifest,
    ) -> Result<(HashMap<Digest, u64>, HashMap<Digest, u64>), Error> {
        let wanted: HashMap<Digest, u64> = own.blobs().collect();
        let missing = self.uploads.owned.missing(app, &wanted).await?;
        let missing = missing.into_iter().filter_map(|digest| Some((digest, *wanted.get(&digest)?))).collect();
        Ok((wanted, missing))
    }

    /// Joins the push again, if the live version has changed since the last join.
    ///
    /// # Errors
    /// As [`Publisher::begin`].
    pub(super) async fn joined_again(&self, push: &Push) -> Result<Option<Arc<Push>>, Error> {
        let Some(joined) = push.following() else { return Ok(None) };
        let place = (&push.app, &push.environment);
        if self.followed(&push.actor, place, &push.options).await? == joined.with {
            return Ok(None);
        }
        let mut memory = self.uploads.manifest_memory.hold(&push.app, &push.environment);
        let again = self.join(&push.actor, place, &joined.own, &push.options, &mut memory).await?;
        let Some((joined, manifest)) = again else { return Ok(None) };
        self.check_bundle(&push.actor, place, (&manifest, &joined.own), &push.options).await?;
        let (version, manifest) = (manifest.id(), Arc::new(manifest));
        let received = push.received.lock().clone();
        Ok(Some(Arc::new(Push {
            id: push.id.clone(),
            app: push.app.clone(),
            environment: push.environment.clone(),
            version,
            _lease: self.ledger.leases.bundle(version, &manifest).await,
            manifest,
            joined: Some(joined),
            source: push.source.clone(),
            options: push.options.clone(),
            actor: push.actor.clone(),
            began: push.began,
            missing: push.missing.clone(),
            named: OnceLock::new(),
            received: Mutex::new(received),
            memory,
        })))
    }
}
