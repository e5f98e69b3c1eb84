//! Parts of a version that a push must not remove silently: pages, routes, the processes of its backend.

use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::rules::{HEADERS_FILE, REDIRECTS_FILE};
use crate::site_toml::ProcessName;
use crate::text::counted;

/// Maximum number of routes in a message.
const NAMED_MAX: usize = 3;

/// Parts of a version or bundle in one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Number of files, rule files aside.
    pub pages: u64,
    /// Paths served by backends.
    pub routes: Vec<String>,
    /// Processes of the backend in the bundle.
    pub processes: Vec<ProcessName>,
    /// Number of smoke checks.
    pub smoke: u64,
}

impl Parts {
    /// Returns the parts of a bundle in `environment`.
    #[must_use]
    pub fn of(manifest: &Manifest, environment: &str) -> Self {
        let serving = manifest.serving_for(environment);
        let managed = manifest.managed_in(&serving);
        Self {
            pages: count(manifest.files.keys().filter(|path| is_page(path.as_str())).count()),
            routes: serving.routes.iter().flatten().map(|route| route.path.to_string()).collect(),
            processes: managed
                .iter()
                .flat_map(|managed| &managed.server.processes)
                .map(|one| one.name.clone())
                .collect(),
            smoke: count(serving.smoke.as_ref().map_or(0, Vec::len)),
        }
    }

    /// Describes the parts of `self`, the live version, that a push of `new` would remove; empty if none.
    ///
    /// Smoke checks are reported beside another part only: their removal is invisible to visitors.
    #[must_use]
    pub fn lost(&self, new: &Self) -> Vec<String> {
        let mut lost = Vec::new();
        let gone: Vec<&str> =
            self.processes.iter().filter(|name| !new.processes.contains(name)).map(ProcessName::as_str).collect();
        if !gone.is_empty() {
            let what = if new.processes.is_empty() { "a backend" } else { "processes" };
            lost.push(format!("{what} ({})", gone.join(", ")));
        }
        if !self.routes.is_empty() && new.routes.is_empty() {
            let more = self.routes.len().saturating_sub(NAMED_MAX);
            let and = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named: Vec<&str> = self.routes.iter().take(NAMED_MAX).map(String::as_str).collect();
            lost.push(format!("routes ({}{and})", named.join(", ")));
        }
        if self.pages > 0 && new.pages == 0 {
            lost.push(format!("pages ({})", counted(self.pages, "file")));
        }
        if !lost.is_empty() && self.smoke > 0 && new.smoke == 0 {
            lost.push(counted(self.smoke, "smoke check"));
        }
        lost
    }
}

/// Returns true unless a file of a bundle is a rule file.
#[must_use]
pub fn is_page(path: &str) -> bool {
    !matches!(path, REDIRECTS_FILE | HEADERS_FILE)
}

/// Returns the sentence about parts removed by a push.
#[must_use]
pub fn lost_text(environment: &str, lost: &[String]) -> String {
    let named = match lost {
        [rest @ .., before, last] => {
            let rest: String = rest.iter().map(|one| format!("{one}, ")).collect();
            format!("{rest}{before} and {last}")
        }
        _ => lost.concat(),
    };
    format!("What is live in {environment} has {named}, and this bundle has none of that.")
}

/// Hint about parts removed by a push.
pub const LOST_HINT: &str = "where that is meant, --allow-warnings takes it away (`allow_warnings=1` in the API); otherwise push all of it together, an archive with its devanture.toml";

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pages: u64, routes: &[&str], processes: &[&str], smoke: u64) -> Parts {
        Parts {
            pages,
            routes: routes.iter().map(|&route| route.to_owned()).collect(),
            processes: processes.iter().map(|name| name.parse().unwrap()).collect(),
            smoke,
        }
    }

    #[test]
    fn every_part_that_vanishes_is_named() {
        let live = parts(12, &["/api/*", "/ws", "/a", "/b"], &["web", "worker"], 1);
        for (new, lost) in [
            (live.clone(), &[][..]),
            (parts(1, &["/other"], &["worker", "web"], 0), &[]),
            (parts(0, &["/*"], &["web", "worker"], 1), &["pages (12 files)"]),
            (parts(9, &["/*"], &["web"], 1), &["processes (worker)"]),
            (
                parts(9, &[], &[], 0),
                &["a backend (web, worker)", "routes (/api/*, /ws, /a and 1 more)", "1 smoke check"],
            ),
        ] {
            assert_eq!(live.lost(&new), lost, "{new:?}");
        }
        assert!(Parts::default().lost(&Parts::default()).is_empty());
        let named = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(lost_text("prod", &named), "What is live in prod has a, b and c, and this bundle has none of that.");
        assert_eq!(lost_text("prod", &named[..1]), "What is live in prod has a, and this bundle has none of that.");
    }
}
