//! Public files of a version: only these serve as dictionaries, or are sent as deltas.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use devanture_config::limits::Limits;
use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::{AppName, Digest, Manifest, PlaceName};
use devanture_site::dictionary::FILE_BYTES_MIN;
use devanture_site::precompressed::compressed_path;
use devanture_site::resolve::addresses;
use devanture_site::rules::restricted::RestrictedPaths;
use devanture_site::{cache, media};
use tokio::time::Instant;

use super::deadline::is_over;
use crate::encode::compress::worth_trying;
use crate::ledger::{Error, lost};
use devanture_serve::version::{KeptFiles, RuleFiles, RuleMemory};
use devanture_store::blobs::{Blobs, Form};
use devanture_store::records::DictionariesRecord;

/// Most comparisons of files with rules; in a larger version, no file counts as public.
const COMPARED_MAX: usize = 50_000_000;
/// Files compared between two checks of the deadline.
const FILES_IN_A_ROW: usize = 64;

/// Returns the dictionaries of `record` kept by browsers of a version in an environment.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn kept_in(
    blobs: &dyn Blobs,
    manifest: &Arc<Manifest>,
    (environment, (memory, app)): (&PlaceName, (&Arc<RuleMemory>, &AppName)),
    record: &DictionariesRecord,
    limits: &Limits,
) -> Result<KeptFiles, Error> {
    let reader = memory.reader(app, environment.as_str());
    let (files, serving) =
        (RuleFiles::read(blobs, manifest, &reader).await?, manifest.serving_for(environment.as_str()));
    let rules_max = usize::try_from(limits.rules_max).unwrap_or(usize::MAX);
    let compiled = files.compiled(manifest, &serving, rules_max, Some(record)).await;
    compiled.map(|(_, kept)| kept).map_err(|error| lost(&error))
}

/// Files restricted by a rule or route in any environment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// All files, as far as known.
    All,
    /// The listed files.
    These(HashSet<BundlePath>),
}

impl Closed {
    /// Finds the restricted files of a version, or among files with the content `only`. Slow: for blocking threads.
    /// `None` if out of time.
    pub(super) fn find(
        kept: Option<&RestrictedPaths>,
        manifest: &Manifest,
        only: Option<Digest>,
        deadline: Option<Instant>,
    ) -> Option<Self> {
        let Some(kept) = kept else { return Some(Self::All) };
        let is_wanted = |entry: &FileEntry| only.is_none_or(|only| entry.hash == only);
        let files: Vec<&BundlePath> =
            manifest.files.iter().filter(|(_, entry)| is_wanted(entry)).map(|(path, _)| path).collect();
        if files.len().saturating_mul(kept.count()) > COMPARED_MAX {
            return Some(Self::All);
        }
        let mut closed = HashSet::new();
        for files in files.chunks(FILES_IN_A_ROW) {
            if is_over(deadline) {
                return None;
            }
            let is_kept = |path: &BundlePath| addresses(path.as_str()).iter().any(|address| kept.takes(address));
            closed.extend(files.iter().copied().filter(|path| is_kept(path)).cloned());
        }
        Some(Self::These(closed))
    }

    fn holds(&self, path: &BundlePath) -> bool {
        match self {
            Self::All => true,
            Self::These(paths) => paths.contains(path),
        }
    }
}

/// Version without the bytes of its files.
pub(super) struct Public<'m> {
    manifest: &'m Manifest,
    /// Files that are encodings of another file.
    siblings: BTreeSet<BundlePath>,
    closed: Closed,
    bytes_max: u64,
}

impl<'m> Public<'m> {
    pub(super) fn new(
        manifest: &'m Manifest,
        given: &BTreeMap<BundlePath, Vec<Form>>,
        closed: Closed,
        bytes_max: u64,
    ) -> Self {
        let sibling = |path: &BundlePath, form: &Form| compressed_path(path, form.suffix());
        let siblings = given.iter().flat_map(|(path, forms)| forms.iter().filter_map(|form| sibling(path, form)));
        Self { manifest, siblings: siblings.collect(), closed, bytes_max }
    }

    /// Returns the files that may be sent as deltas: compressible and of useful length.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'m BundlePath, &'m FileEntry)> {
        self.manifest.files.iter().filter(|(path, entry)| {
            (FILE_BYTES_MIN..=self.bytes_max).contains(&entry.size)
                && worth_trying(path, entry.media_type.as_deref(), entry.size)
                && self.anyone_may_read(path)
        })
    }

    /// Returns true if anyone may read a file, by any of its served paths.
    pub(super) fn anyone_may_read(&self, path: &BundlePath) -> bool {
        !path.is_private() && !self.siblings.contains(path) && !self.closed.holds(path)
    }
}

/// Returns true for pages and service workers, which browsers do not keep.
pub(super) fn is_page(path: &BundlePath, entry: &FileEntry) -> bool {
    let media_type = entry.media_type.as_deref();
    match media_type {
        Some(declared) => cache::is_page(path.as_str(), declared.as_bytes()),
        None => cache::is_page(path.as_str(), media::content_type(path.as_str(), true).as_bytes()),
    }
}

/// Returns true for pages requested by browsers as documents.
pub(crate) fn is_html(path: &BundlePath, entry: &FileEntry) -> bool {
    media::is_html(path.as_str(), entry.media_type.as_deref())
}

/// Strips the outer slashes of a withdrawn path, as expected by [`is_withdrawn`].
pub(super) fn bare(path: &str) -> &str {
    path.trim_matches('/')
}

/// Returns true if a served path of a file is withdrawn; `withdrawn` has no outer slashes.
pub(super) fn is_withdrawn(path: &BundlePath, withdrawn: &HashSet<String>) -> bool {
    !withdrawn.is_empty() && addresses(path.as_str()).iter().any(|address| withdrawn.contains(bare(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::site_toml::SiteFile;

    fn manifest(site: &str) -> Manifest {
        let entry = |size| FileEntry { hash: Digest::of(b""), size, media_type: None };
        let files = [
            ("app.js", 5_000),
            ("app.js.br", 2_000),
            ("docs/index.html", 5_000),
            ("long.js", 10_001),
            ("photo.jpg", 5_000),
            ("secret/plan.css", 5_000),
            ("short.js", 1_023),
            (".env.js", 5_000),
        ];
        let mut manifest = Manifest::of_files(files.map(|(path, size)| (path.parse().unwrap(), entry(size))).into());
        let site = SiteFile::parse("devanture.toml", site).unwrap();
        (manifest.base, manifest.env) = (site.base, site.env);
        manifest
    }

    fn files(site: &str, redirects: &str, headers: &str) -> Vec<String> {
        let manifest = manifest(site);
        let kept = RuleFiles::of(redirects, headers).restricted(&manifest, 100_000);
        let closed = Closed::find(kept.as_ref(), &manifest, None, None).unwrap();
        let given = [("app.js".parse().unwrap(), vec![Form::Br])].into();
        let public = Public::new(&manifest, &given, closed, 10_000);
        public.files().map(|(path, _)| path.to_string()).collect()
    }

    const ALL: [&str; 3] = ["app.js", "docs/index.html", "secret/plan.css"];
    const WITHOUT_DOCS: [&str; 2] = ["app.js", "secret/plan.css"];

    #[test]
    fn what_is_private_or_guarded_or_does_not_compress_is_left_out() {
        assert_eq!(files("", "", ""), ALL);
        assert_eq!(files("", "", "/secret/*\n  Basic-Auth: ann:one\n"), ["app.js", "docs/index.html"]);
        assert_eq!(files("", "", "/*\n  Basic-Auth: ann:one\n"), [""; 0]);
    }

    #[test]
    fn a_page_is_left_out_whichever_of_its_paths_is_guarded() {
        for guard in ["/docs", "/docs/", "/docs/*", "/docs/index", "/docs/index.html", "/docs/:page"] {
            let headers = format!("{guard}\n  Basic-Auth: ann:one\n");
            assert_eq!(files("", "", &headers), WITHOUT_DOCS, "{guard}");
        }
    }

    #[test]
    fn what_a_rule_goes_before_is_left_out() {
        for rule in ["/nowhere 404!", "/ 302!", "/app.js 200!", "/ 302! Language=de", "/ 302! Country=de"] {
            assert_eq!(files("", &format!("/docs/* {rule}\n"), ""), WITHOUT_DOCS, "{rule}");
            assert_eq!(files("", &format!("https://shop.example/docs/* {rule}\n"), ""), WITHOUT_DOCS, "{rule}");
        }
        // Files take precedence over these rules.
        for rule in ["/nowhere 404", "/ 302", "/app.js 200"] {
            assert_eq!(files("", &format!("/docs/* {rule}\n"), ""), ALL, "{rule}");
        }
        let table = "[[redirects]]\nfrom = \"/docs/*\"\nto = \"/\"\nforce = true\n";
        assert_eq!(files(table, "", ""), WITHOUT_DOCS);
        let table = "[[rewrites]]\nfrom = \"/docs/*\"\nto = \"/app.js\"\nforce = true\n";
        assert_eq!(files(table, "", ""), WITHOUT_DOCS);
        // Cloudflare applies all rules before files.
        assert_eq!(files("rules = \"cloudflare\"\n", "/docs/* / 302\n", ""), WITHOUT_DOCS);
    }

    #[test]
    fn a_host_that_is_moved_as_a_whole_leaves_its_files_to_everyone() {
        assert_eq!(files("", "http://www.shop.example/* https://shop.example/:splat 301!\n", ""), ALL);
        for rule in [
            "http://www.shop.example/* https://shop.example/ 301!",
            "http://www.shop.example/* /moved/:splat 301!",
            "/* https://shop.example/:splat 301!",
            "http://www.shop.example/* /nowhere 404!",
        ] {
            assert_eq!(files("", &format!("{rule}\n"), ""), [""; 0], "{rule}");
        }
    }

    #[test]
    fn what_lies_below_a_route_is_left_out() {
        for path in ["/docs/*", "/docs", "/docs/", "/docs/index.html"] {
            let route = format!("[[routes]]\npath = \"{path}\"\nto = \"http://127.0.0.1:1\"\n");
            assert_eq!(files(&route, "", ""), WITHOUT_DOCS, "{path}");
        }
    }

    #[test]
    fn what_one_environment_alone_keeps_is_left_out() {
        for table in [
            "redirects = [{ from = \"/docs/*\", to = \"/\", force = true }]",
            "routes = [{ path = \"/docs/*\", to = \"http://127.0.0.1:1\" }]",
        ] {
            for place in ["staging", "preview"] {
                assert_eq!(files(&format!("[env.{place}]\n{table}\n"), "", ""), WITHOUT_DOCS, "{table}");
            }
        }
        // There the rule applies before files.
        assert_eq!(files("rules = \"netlify\"\n", "/docs/* / 302\n", ""), ALL);
        let otherwise = "rules = \"netlify\"\n[env.staging]\nrules = \"cloudflare\"\n";
        assert_eq!(files(otherwise, "/docs/* / 302\n", ""), WITHOUT_DOCS);
    }

    #[test]
    fn of_too_many_rules_nothing_is_taken_to_be_everyones() {
        let rules = |count: usize| (0..count).map(|number| format!("/x{number} / 302!\n")).collect::<String>();
        assert_eq!(files("", &rules(10_000), ""), ALL);
        assert_eq!(files("", &rules(10_001), ""), [""; 0]);
        // The same rule in every environment counts once.
        let table = |number: usize| {
            format!("[env.place{number}]\nredirects = [{{ from = \"/x\", to = \"/\", force = true }}]\n")
        };
        assert_eq!(files(&(0..50).map(table).collect::<String>(), &rules(9_999), ""), ALL);
    }

    #[test]
    fn of_too_much_to_compare_nothing_is_taken_to_be_everyones() {
        let kept = |count: usize| {
            let rules: String = (0..count).map(|number| format!("/x{number} / 302!\n")).collect();
            RuleFiles::of(&rules, "").restricted(&manifest(""), 100_000)
        };
        let entry = FileEntry { hash: Digest::of(b""), size: 5_000, media_type: None };
        let paths = (0..5_000).map(|number| (format!("{number}.js").parse().unwrap(), entry.clone()));
        let many = Manifest::of_files(paths.collect());
        assert_eq!(Closed::find(kept(10_000).as_ref(), &many, None, None), Some(Closed::These(HashSet::new())));
        let one_more = Manifest::of_files(many.files.into_iter().chain([("a.js".parse().unwrap(), entry)]).collect());
        assert_eq!(Closed::find(kept(10_000).as_ref(), &one_more, None, None), Some(Closed::All));
        // Restricted to one content, fewer comparisons are needed.
        let other = Digest::of(b"other");
        assert!(matches!(Closed::find(kept(10_000).as_ref(), &one_more, Some(other), None), Some(Closed::These(_))));
        assert_eq!(Closed::find(kept(1).as_ref(), &one_more, None, Some(Instant::now())), None);
    }

    #[test]
    fn a_withdrawn_path_is_the_same_with_and_without_its_outer_slashes() {
        for path in ["/docs", "docs/", "/docs/index.html", "/docs/index/"] {
            let withdrawn = HashSet::from([bare(path).to_owned()]);
            assert!(is_withdrawn(&"docs/index.html".parse().unwrap(), &withdrawn), "{path}");
        }
        assert!(!is_withdrawn(&"docs/index.html".parse().unwrap(), &HashSet::from([bare("/doc").to_owned()])));
    }
}
