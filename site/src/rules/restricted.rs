//! Paths of files restricted by rules and routes: rules that answer in place of a file, or require a password first.

use std::collections::{BTreeSet, HashSet};

use devanture_config::manifest::Manifest;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::{FILE_NAME, RoutePath, Rules, Serving};

use super::pattern::Ending;
use super::{At, EXPRESSIONS_MAX, Pattern, Redirect, RuleSet, Sources, read};
use crate::precompressed::plain_path;

/// Maximum rules and routes, each counted once, for comparison with paths: beyond, no file counts as public.
const RESTRICTED_MAX: usize = 10_000;

/// The paths of a bundle that are not public, in any environment or in previews.
#[derive(Debug, Default)]
pub struct RestrictedPaths {
    /// Patterns of rules that require a password, and of redirects and rewrites that precede files.
    patterns: Vec<Pattern>,
    /// Routes, whose paths no file ever answers.
    routes: BTreeSet<RoutePath>,
}

impl RestrictedPaths {
    /// Collects the restrictions of a bundle's files; `redirects` and `headers` are its rule files. `None` if too many
    /// to compare with paths.
    ///
    /// The tables are read one by one and not merged, and the rule files once for each meaning in use: the time is
    /// linear in the manifest, however many tables the manifest has, and no rule is missed.
    #[must_use]
    pub fn of(manifest: &Manifest, redirects: Option<&[u8]>, headers: Option<&[u8]>, rules_max: usize) -> Option<Self> {
        let read = |serving: &Serving, meaning: Rules, (redirects, headers): (Option<&[u8]>, Option<&[u8]>)| {
            let at = |_, _| At::whole(FILE_NAME);
            read(&Sources { serving, meaning, redirects, headers, rules_max, site_file: FILE_NAME, at: &at }).0
        };
        let (mut restricted, mut seen, mut meant) = (Self::default(), HashSet::new(), Vec::new());
        for table in manifest.tables() {
            let serving = Serving {
                html_handling: table.html_handling.or(manifest.base.html_handling),
                rules: table.rules.or(manifest.base.rules),
                ..Serving::default()
            };
            let meaning = manifest.rules_in(&serving);
            if !meant.contains(&(meaning, serving.html_handling)) {
                meant.push((meaning, serving.html_handling));
                restricted.add(read(&serving, meaning, (redirects, headers)), &mut seen)?;
            }
            restricted.add(read(table, meaning, (None, None)), &mut seen)?;
            let of_server = table.server.iter().filter_map(|server| server.routes.as_ref()).flatten();
            restricted.routes.extend(table.routes.iter().flatten().map(|route| &route.path).chain(of_server).cloned());
            if restricted.count() > RESTRICTED_MAX {
                return None;
            }
        }
        Some(restricted)
    }

    /// The number of rules and routes compared with each path.
    #[must_use]
    pub fn count(&self) -> usize {
        self.patterns.len().saturating_add(self.routes.len())
    }

    /// Returns true if a file may be restricted at `path`, which is decoded, on some host.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        self.routes.iter().any(|route| route.takes(path)) || self.patterns.iter().any(|pattern| pattern.takes(path))
    }

    /// Returns true if a rule or route that matches the path `name` does not match the path `other`, in some
    /// environment.
    fn distinguishes(&self, name: &str, other: &str) -> bool {
        let of_routes = || self.routes.iter().any(|route| route.takes(name) && !route.takes(other));
        of_routes() || self.patterns.iter().any(|pattern| pattern.takes(name) && !pattern.takes(other))
    }

    /// Adds the restrictions in `rules`; `None` if too many.
    fn add(&mut self, rules: RuleSet, seen: &mut HashSet<(String, bool, bool)>) -> Option<()> {
        let guards = rules.headers.into_iter().filter(|rule| !rule.users.is_empty()).map(|rule| rule.path);
        // Also rules with conditions: some visitors do not see the file.
        let forced = rules.redirects.into_iter().filter(|rule| rule.force && !moves_host(rule)).map(|rule| rule.from);
        let is_new =
            |pattern: &Pattern| seen.insert((pattern.as_str().to_owned(), pattern.is_tolerant(), pattern.folds()));
        self.patterns.extend(guards.chain(forced).filter(is_new));
        let expressions = self.patterns.iter().filter(|pattern| pattern.is_expression()).count();
        (self.count() <= RESTRICTED_MAX && expressions <= EXPRESSIONS_MAX).then_some(())
    }
}

/// Returns true if a rule redirects all paths of one host to the same paths of another: such a rule is irrelevant to a
/// single page.
fn moves_host(rule: &Redirect) -> bool {
    let (segments, ending) = rule.from.steps();
    let is_whole = segments.is_empty() && matches!(ending, Ending::Below | Ending::BelowOrSelf);
    let keeps_path = || rule.to.origin().is_some_and(|origin| rule.to.as_str() == format!("{origin}/:splat"));
    rule.from.has_host() && is_whole && rule.is_redirect() && keeps_path()
}

/// Plain paths, from pairs of a compressed file's name and its plain path, that a password, a route or a forced rule
/// for the compressed name would not protect: the rule was meant for the content, and its author did not expect a
/// second name. Such plain paths are not served. With too many rules to compare (`restricted` is `None`), all plain
/// paths are returned.
#[must_use]
pub fn unserved_plain_paths(
    restricted: Option<&RestrictedPaths>,
    names: impl IntoIterator<Item = (BundlePath, BundlePath)>,
) -> BTreeSet<BundlePath> {
    let is_apart = |name: &BundlePath, plain: &BundlePath| {
        restricted.is_none_or(|restricted| restricted.distinguishes(&format!("/{name}"), &format!("/{plain}")))
    };
    names.into_iter().filter(|(name, plain)| is_apart(name, plain)).map(|(_, plain)| plain).collect()
}

/// The files of a bundle uploaded compressed alone and also served under their plain path: pairs of the name and the
/// plain path.
#[must_use]
pub fn served_plain_paths(manifest: &Manifest, restricted: Option<&RestrictedPaths>) -> Vec<(BundlePath, BundlePath)> {
    let alone = |name: &BundlePath| {
        let plain = plain_path(name).filter(|plain| !manifest.files.contains_key(plain))?;
        Some((name.clone(), plain))
    };
    let mut names: Vec<(BundlePath, BundlePath)> = manifest.files.keys().filter_map(alone).collect();
    let unserved = unserved_plain_paths(restricted, names.iter().cloned());
    names.retain(|(_, plain)| !unserved.contains(plain));
    names
}
