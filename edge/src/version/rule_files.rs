//! The files of a bundle that hold rules, read from the store.

use bytes::Bytes;
use devanture_config::path::BundlePath;
use devanture_config::rules::{self, At, FILE_BYTES_MAX, HEADERS_FILE, Pattern, REDIRECTS_FILE, RuleSet, Sources};
use devanture_config::site_toml::{FILE_NAME, Rules, Serving};
use devanture_config::{Manifest, Mistake, PlaceName};

use crate::blobs::{self, Blobs, Key};

/// What the files of rules hold.
#[derive(Debug, Clone, Default)]
pub struct RuleFiles {
    redirects: Option<Bytes>,
    headers: Option<Bytes>,
}

impl RuleFiles {
    /// Reads them, where the bundle has them.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn read(blobs: &dyn Blobs, manifest: &Manifest) -> Result<Self, blobs::Error> {
        let read = async |name: &str| {
            let path: Option<BundlePath> = name.parse().ok();
            let Some(entry) = path.and_then(|path| manifest.files.get(&path)) else { return Ok(None) };
            if usize::try_from(entry.size).is_ok_and(|size| size <= FILE_BYTES_MAX) {
                return blobs.get(Key::Blob(entry.hash)).await.map(Some);
            }
            // Longer than is read: one byte too many says so without the rest being held.
            Ok(Some(Bytes::from(vec![b'\n'; FILE_BYTES_MAX + 1])))
        };
        Ok(Self { redirects: read(REDIRECTS_FILE).await?, headers: read(HEADERS_FILE).await? })
    }

    /// The rules that hold in an environment, where `serving` does. What cannot be carried out is left out: it was said
    /// when the version was pushed.
    #[must_use]
    pub(super) fn rules(&self, serving: &Serving, meaning: Rules, rules_max: usize) -> RuleSet {
        let sources = Sources {
            serving,
            meaning,
            redirects: self.redirects.as_deref(),
            headers: self.headers.as_deref(),
            rules_max,
            site_file: FILE_NAME,
            at: &|_, _| At::whole(FILE_NAME),
        };
        rules::read(&sources).0
    }

    /// How many redirects and rewrites, and how many rules of fields, hold in `environment`.
    #[must_use]
    pub fn counts(&self, manifest: &Manifest, environment: &str, rules_max: usize) -> (usize, usize) {
        let (redirects, headers) = (self.redirects.as_deref(), self.headers.as_deref());
        let (rules, _) =
            rules::of_manifest(manifest, environment, redirects, headers, rules_max, FILE_NAME, &|_, _| {
                At::whole(FILE_NAME)
            });
        (rules.redirects.len(), rules.headers.len())
    }

    /// What a rule keeps from strangers in any environment, or in previews: the patterns of those paths.
    #[must_use]
    pub(crate) fn guarded(&self, manifest: &Manifest, rules_max: usize) -> Vec<Pattern> {
        // The base by a name that no table has, as in every environment that none is for.
        let tables = manifest.env.keys().map(PlaceName::as_str).chain([""]);
        let guarded = tables.flat_map(|table| {
            let serving = manifest.serving_for(table);
            let rules = self.rules(&serving, manifest.rules_in(&serving), rules_max);
            rules.headers.into_iter().filter(|rule| !rule.users.is_empty()).map(|rule| rule.path)
        });
        guarded.collect()
    }

    /// Everything that is wrong with the rules that hold in `environment`.
    #[must_use]
    pub fn findings(&self, manifest: &Manifest, environment: &str, rules_max: usize) -> Vec<Mistake> {
        let (redirects, headers) = (self.redirects.as_deref(), self.headers.as_deref());
        rules::of_manifest(manifest, environment, redirects, headers, rules_max, FILE_NAME, &|_, _| {
            At::whole(FILE_NAME)
        })
        .1
    }
}
