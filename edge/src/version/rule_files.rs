//! The files of a bundle that hold rules, read from the store.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use devanture_config::path::BundlePath;
use devanture_config::rules::pattern::Ending;
use devanture_config::rules::{
    self, At, EXPRESSIONS_MAX, FILE_BYTES_MAX, HEADERS_FILE, Pattern, REDIRECTS_FILE, Redirect, RuleSet, Sources,
};
use devanture_config::site_toml::{FILE_NAME, RoutePath, Rules, Serving};
use devanture_config::{Manifest, Mistake};
use tokio::task::JoinError;

use super::KeptFiles;
use crate::blobs::{self, Blobs, Key};
use crate::catalog::records::DictionariesRecord;
use crate::site::rules::{CompiledRules, Keeping};

/// Most rules and routes, each counted once, that may keep a version's files from strangers for any of them to be
/// looked for: beyond, no file is taken to be everyone's.
const KEPT_MAX: usize = 10_000;

/// A file of rules that is damaged or missing. Nothing of its version is served without it: what it says is not known, and
/// that may be a password.
#[derive(Debug, thiserror::Error)]
#[error("its rule file `{name}` is damaged or missing, and may keep paths from visitors: {source}")]
pub struct RuleFileError {
    /// The file, at the root of the bundle.
    pub name: &'static str,
    source: blobs::Error,
}

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
    /// Where one of them cannot be read.
    pub async fn read(blobs: &dyn Blobs, manifest: &Manifest) -> Result<Self, RuleFileError> {
        let read = async |name: &'static str| {
            let path: Option<BundlePath> = name.parse().ok();
            let Some(entry) = path.and_then(|path| manifest.files.get(&path)) else { return Ok(None) };
            if usize::try_from(entry.size).is_ok_and(|size| size <= FILE_BYTES_MAX) {
                let got = blobs.get(Key::Blob(entry.hash)).await;
                return got.map(Some).map_err(|source| RuleFileError { name, source });
            }
            // Longer than is read: one byte too many says so without the rest being held.
            Ok(Some(Bytes::from(vec![b'\n'; FILE_BYTES_MAX + 1])))
        };
        Ok(Self { redirects: read(REDIRECTS_FILE).await?, headers: read(HEADERS_FILE).await? })
    }

    /// What files of these texts hold.
    #[cfg(test)]
    pub(crate) fn of(redirects: &str, headers: &str) -> Self {
        let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        Self { redirects: text(redirects), headers: text(headers) }
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

    /// The same where `serving` holds of `manifest`, made ready on a thread that nobody waits on: there may be thousands.
    /// With them comes what they leave of `record` for browsers to keep.
    ///
    /// # Errors
    /// Where that panicked.
    pub(crate) async fn compiled(
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

    /// What keeps the files of a bundle from strangers, or answers in their place, in any environment or in previews.
    /// Nothing where that is too much to be looked at.
    ///
    /// The tables are read one by one and not as they are merged, and the files of rules once for each way in which
    /// they are meant: that takes as long as the manifest is, however many tables it has, and finds no rule less.
    #[must_use]
    pub(crate) fn kept(&self, manifest: &Manifest, rules_max: usize) -> Option<Kept> {
        let (mut kept, mut seen, mut meant) = (Kept::default(), HashSet::new(), Vec::new());
        for table in manifest.tables() {
            let serving = Serving {
                html_handling: table.html_handling.or(manifest.base.html_handling),
                rules: table.rules.or(manifest.base.rules),
                ..Serving::default()
            };
            let meaning = manifest.rules_in(&serving);
            if !meant.contains(&(meaning, serving.html_handling)) {
                meant.push((meaning, serving.html_handling));
                kept.add(self.rules(&serving, meaning, rules_max), &mut seen)?;
            }
            kept.add(Self::default().rules(table, meaning, rules_max), &mut seen)?;
            let of_server = table.server.iter().filter_map(|server| server.routes.as_ref()).flatten();
            kept.routes.extend(table.routes.iter().flatten().map(|route| &route.path).chain(of_server).cloned());
            if kept.count() > KEPT_MAX {
                return None;
            }
        }
        Some(kept)
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

/// What keeps files from strangers, or answers in their place.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Of rules that ask for a password, and of redirects and rewrites that go before files.
    patterns: Vec<Pattern>,
    /// A file never answers a path of theirs (law 9).
    routes: BTreeSet<RoutePath>,
}

impl Kept {
    /// How many rules and routes are asked for each path.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.patterns.len().saturating_add(self.routes.len())
    }

    /// Whether a file may not be read by everyone at `path`, which is decoded, on some host.
    #[must_use]
    pub(crate) fn takes(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.takes(path)) || self.patterns.iter().any(|pattern| pattern.takes(path))
    }

    /// Whether something that takes the path `name` does not take the path `other`, in some environment.
    #[must_use]
    pub(super) fn tells_apart(&self, name: &str, other: &str) -> bool {
        let of_routes = || self.routes.iter().any(|route| route.takes(name) && !route.takes(other));
        of_routes() || self.patterns.iter().any(|pattern| pattern.takes(name) && !pattern.takes(other))
    }

    /// Adds what `rules` say; nothing where that is too much.
    fn add(&mut self, rules: RuleSet, seen: &mut HashSet<(String, bool, bool)>) -> Option<()> {
        let guards = rules.headers.into_iter().filter(|rule| !rule.users.is_empty()).map(|rule| rule.path);
        // Also those with conditions: there are visitors who do not see the file.
        let forced = rules.redirects.into_iter().filter(|rule| rule.force && !moves_host(rule)).map(|rule| rule.from);
        let is_new =
            |pattern: &Pattern| seen.insert((pattern.as_str().to_owned(), pattern.is_tolerant(), pattern.folds()));
        self.patterns.extend(guards.chain(forced).filter(is_new));
        let expressions = self.patterns.iter().filter(|pattern| pattern.is_expression()).count();
        (self.count() <= KEPT_MAX && expressions <= EXPRESSIONS_MAX).then_some(())
    }
}

/// Whether a rule sends all of one host to the same paths of another one: that says nothing of a page.
fn moves_host(rule: &Redirect) -> bool {
    let (segments, ending) = rule.from.steps();
    let is_whole = segments.is_empty() && matches!(ending, Ending::Below | Ending::BelowOrSelf);
    let keeps_path = || rule.to.origin().is_some_and(|origin| rule.to.as_str() == format!("{origin}/:splat"));
    rule.from.has_host() && is_whole && rule.is_redirect() && keeps_path()
}
