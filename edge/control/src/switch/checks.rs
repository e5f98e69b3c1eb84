//! Checks before a switch: version id and reason, reach of routes and upstreams, rules, signatures, fingerprints.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use devanture_config::api::Deploy;
use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ROUTES_MAX, Serving, UpstreamUrl};
use devanture_config::{AppName, BadIdPrefix, Digest, IdPrefix, Manifest, PlaceName, VersionId};
use devanture_serve::proxy;
use devanture_serve::version::RuleFiles;
use devanture_site::{fingerprint, rules};
use devanture_store::blobs::Blobs;
use devanture_store::catalog::Commit;
use devanture_store::records::{self, LivePointer, VersionRecord};
use parking_lot::Mutex;

use super::intent::Intent;
use super::switcher::Switcher;
use crate::ledger::{Actor, Error, Ledger, Moves};

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// Checks that a text has the form of a version id, before any upload.
///
/// # Errors
/// `bad_request`.
pub fn check_if_live(typed: &str) -> Result<(), Error> {
    check_typed("if_live", typed)
}

/// Checks that the text of a field has the form of a version id.
///
/// # Errors
/// `bad_request`.
pub(crate) fn check_typed(field: &str, typed: &str) -> Result<(), Error> {
    let wrong = |error: BadIdPrefix| Problem::new(Code::BadRequest, format!("`{field}`: {error}."));
    Ok(typed.parse::<IdPrefix>().map(|_fine| ()).map_err(wrong)?)
}

/// Checks the reason given by a user.
///
/// # Errors
/// `bad_request`.
pub(crate) fn check_reason(reason: Option<&str>) -> Result<(), Error> {
    let Some(reason) = reason else { return Ok(()) };
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        let detail = format!("The reason has more than {REASON_CHARACTERS_MAX} characters.");
        return Err(Problem::new(Code::BadRequest, detail).hint("say it shorter").into());
    }
    // The reason is shown in terminals, on one line.
    if reason.chars().any(char::is_control) {
        return Err(Problem::new(Code::BadRequest, "The reason holds a control character.")
            .hint("leave it out")
            .into());
    }
    Ok(())
}

// Checks the reach of versions: routes and upstreams must stay within the pusher's rights.

impl Switcher {
    /// Checks the upstreams in the manifest against the actor's rights.
    pub(crate) async fn check_reach(&self, actor: &Actor, app: &AppName, manifest: &Manifest) -> Result<(), Error> {
        // An admin of an app is a tenant: private addresses are the shared network of the edge.
        let is_vouched = actor.is_admin_of_all();
        let addresses: BTreeSet<&UpstreamUrl> = manifest.tables().flat_map(Serving::backends).collect();
        if addresses.len() > ROUTES_MAX {
            let detail = format!("Routes and upstreams name {} backends; {ROUTES_MAX} are the most.", addresses.len());
            return Err(Problem::new(Code::BadManifest, detail).into());
        }
        let addresses: Vec<(&UpstreamUrl, bool)> = addresses.into_iter().map(|to| (to, is_vouched)).collect();
        self.environments.upstreams.check().check(app, &self.upstreams, &addresses).await?;
        for (name, declared) in manifest.tables().filter_map(|table| table.upstreams.as_ref()).flatten() {
            if let Err(why) = proxy::tls::check(&declared.pool()) {
                let detail = format!("The upstream `{name}`: {why}.");
                return Err(Problem::new(Code::BadManifest, detail).into());
            }
        }
        Ok(())
    }

    /// Checks that a version reaches no private address allowed only by an admin of its app, as formerly possible,
    /// unless `actor` is an admin of every app. Versions live since then stay served; no further version goes live so.
    ///
    /// # Errors
    /// `upstream_forbidden`.
    pub(crate) async fn check_stored_reach(
        &self,
        app: &AppName,
        version: VersionId,
        environment: &PlaceName,
        actor: Option<&Actor>,
    ) -> Result<(), Error> {
        let key = records::version_key(app, &version);
        let record = self.ledger.catalog.get(&key).await?;
        let record: Option<VersionRecord> = record.map(|record| records::read(&key, &record)).transpose()?;
        let may_keep = actor.is_some_and(Actor::is_admin_of_all);
        let is_checked = |record: &VersionRecord| {
            record.has_kept_reach() && !(may_keep && record.reach_in(environment.as_str()).is_private())
        };
        if !record.as_ref().is_some_and(is_checked) {
            return Ok(());
        }
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        let serving = manifest.serving_for(environment.as_str());
        drop(manifest);
        let upstreams: Vec<(&UpstreamUrl, bool)> = serving.backends().map(|to| (to, false)).collect();
        Ok(self.environments.upstreams.check().check(app, &self.upstreams, &upstreams).await?)
    }
}

// Checks of rules before a switch: invalid or doubtful rules hold back a version.

/// Tolerated findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// None.
    Nothing,
    /// Doubtful rules.
    Doubts,
}

impl Switcher {
    /// Checks the rules of a bundle for `environment`. Returns the tolerated doubts.
    ///
    /// # Errors
    /// `bad_rules` with every mistake, or `warnings` with every doubt.
    pub(crate) async fn check_rules(
        &self,
        (app, environment): (&AppName, &PlaceName),
        manifest: impl Deref<Target = Manifest> + Send + Sync + 'static,
        tolerance: Tolerance,
    ) -> Result<Vec<Mistake>, Error> {
        let reader = self.loader.rule_memory().reader(app, environment.as_str());
        let files = RuleFiles::read(&*self.blobs, &manifest, &reader).await?;
        let rules_max = usize::try_from(self.ledger.limits().rules_max).unwrap_or(usize::MAX);
        let environment = environment.clone();
        // Runs on a blocking thread: thousands of rules are compared with each other.
        let check = move || {
            let mut findings: Vec<Mistake> = Vec::new();
            for table in rules::tables_checked(&manifest, environment.as_str()) {
                let found = files.findings(&manifest, table, rules_max);
                findings.extend(found.into_iter().filter(|finding| !findings.contains(finding)).collect::<Vec<_>>());
            }
            findings
        };
        let findings = tokio::task::spawn_blocking(check).await;
        let findings = findings.map_err(|error| {
            tracing::error!(%error, "rules could not be checked");
            Problem::new(Code::Internal, "The rules could not be checked.")
        })?;
        judge(findings, tolerance)
    }

    /// As [`Switcher::check_rules`], for a stored version, whose doubts were settled at its push.
    ///
    /// # Errors
    /// `bad_rules`.
    pub(crate) async fn check_stored_rules(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
    ) -> Result<(), Error> {
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        self.check_rules((app, environment), manifest, Tolerance::Doubts).await.map(drop)
    }
}

fn judge(mut findings: Vec<Mistake>, tolerance: Tolerance) -> Result<Vec<Mistake>, Error> {
    let has_mistakes = findings.iter().any(|finding| finding.weight == Weight::Mistake);
    if findings.is_empty() || (!has_mistakes && tolerance == Tolerance::Doubts) {
        return Ok(findings);
    }
    // Errors come first.
    findings.sort_by_key(|finding| finding.weight == Weight::Doubt);
    let count = findings.len();
    let first = findings.first().map(ToString::to_string).unwrap_or_default();
    let more = if count > 1 { format!(" ({} more)", count - 1) } else { String::new() };
    let problem = match has_mistakes {
        true => Problem::new(Code::BadRules, format!("The rules hold mistakes: {first}{more}."))
            .hint("`devanture check` lists them all with their lines"),
        false => Problem::new(Code::Warnings, format!("The rules may not mean what they say: {first}{more}."))
            .hint("`devanture check` lists them all; --allow-warnings lets them pass"),
    };
    Err(problem.with_mistakes(findings).into())
}

// Signatures at a switch: checked before the preparation, and checked again in the commit, which adds the live-log
// entry.

impl Switcher {
    /// Checks that the version has the signatures required by the environment; the commit checks again.
    ///
    /// # Errors
    /// `not_signed`.
    pub(super) async fn check_signed(&self, intent: &Intent<'_>) -> Result<(), Error> {
        let live = self.ledger.live_version_id(intent.app, intent.environment).await?;
        let (place, is_live) = ((intent.app, intent.environment), live == Some(intent.version));
        self.environments.signing.signed(place, &intent.version, is_live).await?;
        Ok(())
    }

    /// Adds to the commit the check of the signatures, and the entry of the live log.
    ///
    /// # Errors
    /// `not_signed`.
    pub(super) async fn hold_signed(
        &self,
        intent: &Intent<'_>,
        (pointer, deploy): (&LivePointer, &Deploy),
        commit: &mut Commit,
    ) -> Result<(), Error> {
        let place = (intent.app, intent.environment);
        let is_live = deploy.previous == Some(intent.version);
        let signed = self.environments.signing.signed(place, &intent.version, is_live).await?;
        commit.checks.extend(signed.checks);
        let (kind, at_ms) = (deploy.kind, deploy.at_ms);
        let moves = Moves { actor: intent.actor, kind, at_ms, deploy: intent.deploy, signed_by: signed.by };
        self.ledger.log_live(commit, place, pointer, moves).await
    }
}

// Check of fingerprinted names: a switch must not change the content of a name, which browsers cache for a year.

/// Versions with fingerprinted names in the cache.
const NAMES_VERSIONS_MAX: usize = 256;
/// Bytes of cached names.
const NAMES_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Fingerprinted names of a version, with their contents.
type FingerprintedNames = Arc<Vec<(String, Digest)>>;

/// Names of recently examined versions.
#[derive(Default)]
pub(crate) struct FingerprintCache(Mutex<CachedNames>);

#[derive(Default)]
struct CachedNames {
    names: HashMap<VersionId, FingerprintedNames>,
    bytes: usize,
}

impl CachedNames {
    /// Caches names that take `bytes`; evicts all others if short of space.
    fn add(&mut self, version: VersionId, names: &FingerprintedNames, bytes: usize) {
        if bytes > NAMES_BYTES_MAX {
            return;
        }
        if self.names.len() >= NAMES_VERSIONS_MAX || self.bytes.saturating_add(bytes) > NAMES_BYTES_MAX {
            *self = Self::default();
        }
        if self.names.insert(version, Arc::clone(names)).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }
}

/// Occurrences of a name in earlier live versions.
struct EarlierUse {
    /// Present content of the name.
    hash: Digest,
    /// Last version with the name and other content.
    last: Option<VersionId>,
    /// True if an earlier version had the name with the present content.
    as_now: bool,
}

impl FingerprintCache {
    /// Checks the fingerprinted names of a version about to become live.
    ///
    /// # Errors
    /// `fingerprint_reused` for a name with other content within the last year.
    pub(crate) async fn check(
        &self,
        (blobs, ledger): (&dyn Blobs, &Ledger),
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
    ) -> Result<(), Error> {
        let wanted = self.names((blobs, ledger), app, version).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut known: HashMap<&str, EarlierUse> = wanted
            .iter()
            .map(|(path, hash)| (path.as_str(), EarlierUse { hash: *hash, last: None, as_now: false }))
            .collect();
        for id in ledger.live_within_a_year(app, environment).await? {
            // A version with a lost manifest cannot be checked, nor served again.
            let Ok(names) = self.names((blobs, ledger), app, id).await else { continue };
            for (path, hash) in names.iter() {
                if let Some(seen) = known.get_mut(path.as_str()) {
                    seen.last.get_or_insert(id);
                    seen.as_now |= *hash == seen.hash;
                }
            }
        }
        let mut reused = wanted.iter().filter_map(|(path, _)| {
            let seen = known.get(path.as_str()).filter(|seen| !seen.as_now)?;
            // Among several versions with other content, the last live version is reported.
            Some((path, seen.last?))
        });
        let Some((path, last)) = reused.next() else { return Ok(()) };
        let others = match reused.count() {
            0 => String::new(),
            count => format!(" So have {count} more of its fingerprinted names."),
        };
        let detail = format!(
            "`{path}` has other content in {} than in {}, which was live in {environment} within the last year.{others}",
            version.short(),
            last.short(),
        );
        Err(Problem::new(Code::FingerprintReused, detail)
            .hint(
                "its name says that its content never changes, so browsers keep the old one: let the build give it \
                 another name, or pass --allow-refingerprint",
            )
            .into())
    }

    async fn names(
        &self,
        (blobs, ledger): (&dyn Blobs, &Ledger),
        app: &AppName,
        version: VersionId,
    ) -> Result<FingerprintedNames, Error> {
        let at_hand = {
            let at_hand = self.0.lock();
            at_hand.names.get(&version).cloned()
        };
        if let Some(names) = at_hand {
            return Ok(names);
        }
        let manifest = ledger.manifest(blobs, app, version).await?;
        let fingerprinted = manifest.files.iter().filter(|(path, _)| fingerprint::is_fingerprinted(path.as_str()));
        let found: FingerprintedNames =
            Arc::new(fingerprinted.map(|(path, file)| (path.to_string(), file.hash)).collect());
        let bytes = found.iter().map(|(path, _)| path.capacity().saturating_add(size_of::<(String, Digest)>()));
        let bytes = bytes.fold(0, usize::saturating_add);
        self.0.lock().add(version, &found, bytes);
        Ok(found)
    }
}
