//! The rule files of a bundle, read from the store.

use std::sync::Arc;

use bytes::Bytes;
use devanture_config::Manifest;
use devanture_config::parsing::Mistake;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{FILE_NAME, Rules, Serving};
use devanture_site::rules::restricted::RestrictedPaths;
use devanture_site::rules::{self, At, FILE_BYTES_MAX, HEADERS_FILE, REDIRECTS_FILE, RuleSet, Sources};
use devanture_site::rules::{CompiledRules, Keeping};
use tokio::task::JoinError;

use super::KeptFiles;
use super::rule_memory::{RuleReader, RuleTurn, table_bytes};
use devanture_store::blobs::{self, Blobs, Key};
use devanture_store::records::DictionariesRecord;

/// A rule file is damaged or missing. The version is then not served at all: the unknown rules may include a password.
#[derive(Debug, thiserror::Error)]
#[error("its rule file `{name}` is damaged or missing, and may keep paths from visitors: {source}")]
pub struct RuleFileError {
    /// The file, at the root of the bundle.
    pub name: &'static str,
    source: blobs::Error,
}

/// The rule files, with memory for the parsed rules and the rules in the manifest.
#[derive(Debug, Default)]
pub struct RuleFiles {
    redirects: Option<Bytes>,
    headers: Option<Bytes>,
    _turn: RuleTurn,
}

impl RuleFiles {
    /// Reads the rule files of the bundle, once the turn of `reader` comes. A caller with a turn must not wait for
    /// another turn.
    ///
    /// # Errors
    /// A rule file cannot be read.
    pub async fn read(blobs: &dyn Blobs, manifest: &Manifest, reader: &RuleReader) -> Result<Self, RuleFileError> {
        let entry = |name: &str| {
            let path: Option<BundlePath> = name.parse().ok();
            path.and_then(|path| manifest.files.get(&path))
        };
        let length_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let files = [REDIRECTS_FILE, HEADERS_FILE].into_iter().filter_map(entry);
        let text_bytes = files.map(|file| file.size.min(length_max)).fold(table_bytes(manifest), u64::saturating_add);
        let turn = reader.turn(text_bytes).await;
        let read = async |name: &'static str| {
            let Some(entry) = entry(name) else { return Ok(None) };
            if usize::try_from(entry.size).is_ok_and(|size| size <= FILE_BYTES_MAX) {
                let got = blobs.get(Key::Blob(entry.hash)).await;
                return got.map(Some).map_err(|source| RuleFileError { name, source });
            }
            // Longer than the limit: one extra byte shows the excess without the rest in memory.
            Ok(Some(Bytes::from(vec![b'\n'; FILE_BYTES_MAX + 1])))
        };
        Ok(Self { redirects: read(REDIRECTS_FILE).await?, headers: read(HEADERS_FILE).await?, _turn: turn })
    }

    /// Parses rule files.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn of(redirects: &str, headers: &str) -> Self {
        let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        Self { redirects: text(redirects), headers: text(headers), _turn: RuleTurn::default() }
    }

    /// The rules for an environment, with the settings `serving`. Unusable rules are left out: the push reported them.
    #[must_use]
    pub fn rules(&self, serving: &Serving, meaning: Rules, rules_max: usize) -> RuleSet {
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

    /// The rules for `serving` of `manifest`, compiled on a blocking thread, since a version may have thousands. Also
    /// returns the files of `record` that the rules let browsers keep.
    ///
    /// # Errors
    /// The thread panicked.
    pub async fn compiled(
        self,
        manifest: &Arc<Manifest>,
        serving: &Serving,
        rules_max: usize,
        record: Option<&DictionariesRecord>,
    ) -> Result<(CompiledRules, KeptFiles), JoinError> {
        let (serving, meaning) = (serving.clone(), manifest.rules_in(serving));
        let of = record.map(|record| (Arc::clone(manifest), record.clone()));
        let compile = move || {
            let rules = self.rules(&serving, meaning, rules_max);
            let kept = of.map(|(manifest, record)| KeptFiles::of(&manifest, &record, &Keeping::new(&rules.headers)));
            (CompiledRules::new(rules), kept.unwrap_or_default())
        };
        tokio::task::spawn_blocking(compile).await
    }

    /// The numbers of redirects and rewrites, and of header rules, in `environment`.
    #[must_use]
    pub fn counts(&self, manifest: &Manifest, environment: &str, rules_max: usize) -> (usize, usize) {
        let (redirects, headers) = (self.redirects.as_deref(), self.headers.as_deref());
        let (rules, _) =
            rules::of_manifest(manifest, environment, redirects, headers, rules_max, FILE_NAME, &|_, _| {
                At::whole(FILE_NAME)
            });
        (rules.redirects.len(), rules.headers.len())
    }

    /// Paths that rules protect or redirect, in any environment or in previews. `None` if too many to compare with
    /// paths.
    #[must_use]
    pub fn restricted(&self, manifest: &Manifest, rules_max: usize) -> Option<RestrictedPaths> {
        RestrictedPaths::of(manifest, self.redirects.as_deref(), self.headers.as_deref(), rules_max)
    }

    /// All findings about the rules for `environment`.
    #[must_use]
    pub fn findings(&self, manifest: &Manifest, environment: &str, rules_max: usize) -> Vec<Mistake> {
        let (redirects, headers) = (self.redirects.as_deref(), self.headers.as_deref());
        rules::of_manifest(manifest, environment, redirects, headers, rules_max, FILE_NAME, &|_, _| {
            At::whole(FILE_NAME)
        })
        .1
    }
}
