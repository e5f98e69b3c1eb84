//! Check of fingerprinted names: a switch must not change the content of a name, which browsers cache for a year.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use devanture_site::fingerprint;
use parking_lot::Mutex;

use crate::ledger::{Error, Ledger};
use devanture_store::blobs::Blobs;

/// Versions with fingerprinted names in the cache.
const VERSIONS_MAX: usize = 256;
/// Bytes of cached names.
const BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// Fingerprinted names of a version, with their contents.
type Names = Arc<Vec<(String, Digest)>>;

/// Names of recently examined versions.
#[derive(Default)]
pub(crate) struct Fingerprints(Mutex<AtHand>);

#[derive(Default)]
struct AtHand {
    names: HashMap<VersionId, Names>,
    bytes: usize,
}

impl AtHand {
    /// Caches names that take `bytes`; evicts all others if short of space.
    fn add(&mut self, version: VersionId, names: &Names, bytes: usize) {
        if bytes > BYTES_MAX {
            return;
        }
        if self.names.len() >= VERSIONS_MAX || self.bytes.saturating_add(bytes) > BYTES_MAX {
            *self = Self::default();
        }
        if self.names.insert(version, Arc::clone(names)).is_none() {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }
}

/// Occurrences of a name in earlier live versions.
struct Seen {
    /// Present content of the name.
    hash: Digest,
    /// Last version with the name and other content.
    last: Option<VersionId>,
    /// True if an earlier version had the name with the present content.
    as_now: bool,
}

impl Fingerprints {
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
        let mut known: HashMap<&str, Seen> = wanted
            .iter()
            .map(|(path, hash)| (path.as_str(), Seen { hash: *hash, last: None, as_now: false }))
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
    ) -> Result<Names, Error> {
        let at_hand = {
            let at_hand = self.0.lock();
            at_hand.names.get(&version).cloned()
        };
        if let Some(names) = at_hand {
            return Ok(names);
        }
        let manifest = ledger.manifest(blobs, app, version).await?;
        let fingerprinted = manifest.files.iter().filter(|(path, _)| fingerprint::is_fingerprinted(path.as_str()));
        let found: Names = Arc::new(fingerprinted.map(|(path, file)| (path.to_string(), file.hash)).collect());
        let bytes = found.iter().map(|(path, _)| path.capacity().saturating_add(size_of::<(String, Digest)>()));
        let bytes = bytes.fold(0, usize::saturating_add);
        self.0.lock().add(version, &found, bytes);
        Ok(found)
    }
}
