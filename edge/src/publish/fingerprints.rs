//! Holds back a switch that would give a fingerprinted name other content than it had: browsers keep the old one a
//! year.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Digest, PlaceName, VersionId};
use devanture_site::fingerprint;
use parking_lot::Mutex;

use crate::blobs::Blobs;
use crate::ledger::{Error, Ledger, stored_manifest};

/// Versions whose fingerprinted names are kept at hand.
const VERSIONS_MAX: usize = 256;

/// The fingerprinted names of a version, with the content that each stands for.
type Names = Arc<Vec<(String, Digest)>>;

/// The names of versions that were looked at lately.
#[derive(Default)]
pub(crate) struct Fingerprints(Mutex<HashMap<VersionId, Names>>);

impl Fingerprints {
    /// Whether `version` may become live as far as fingerprinted names go.
    ///
    /// # Errors
    /// `fingerprint_reused` where a name would stand for other content than within the last year.
    pub(crate) async fn check(
        &self,
        (blobs, ledger): (&dyn Blobs, &Ledger),
        app: &AppName,
        environment: &PlaceName,
        version: VersionId,
    ) -> Result<(), Error> {
        let wanted = self.names(blobs, version).await?;
        if wanted.is_empty() {
            return Ok(());
        }
        let mut known: BTreeMap<String, Vec<(Digest, VersionId)>> = BTreeMap::new();
        for id in ledger.live_within_a_year(app, environment).await? {
            // A version whose manifest is gone cannot be asked; it cannot be served again either.
            let Ok(names) = self.names(blobs, id).await else { continue };
            for (path, hash) in names.iter() {
                known.entry(path.clone()).or_default().push((*hash, id));
            }
        }
        let mut reused = wanted.iter().filter_map(|(path, hash)| {
            let seen = known.get(path)?;
            // Of several versions that had the name with other content, the one that was live last is reported.
            let (_, last) = seen.first().filter(|_| seen.iter().all(|(other, _)| other != hash))?;
            Some((path, last))
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

    async fn names(&self, blobs: &dyn Blobs, version: VersionId) -> Result<Names, Error> {
        let at_hand = {
            let names = self.0.lock();
            names.get(&version).cloned()
        };
        if let Some(names) = at_hand {
            return Ok(names);
        }
        let manifest = stored_manifest(blobs, version).await?;
        let fingerprinted = manifest.files.iter().filter(|(path, _)| fingerprint::is_fingerprinted(path.as_str()));
        let found: Names = Arc::new(fingerprinted.map(|(path, file)| (path.to_string(), file.hash)).collect());
        let mut names = self.0.lock();
        if names.len() >= VERSIONS_MAX {
            names.clear();
        }
        names.insert(version, Arc::clone(&found));
        Ok(found)
    }
}
