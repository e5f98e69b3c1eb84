//! Files of a version that browsers keep as dictionaries, by the rules of the site. Pure, but too slow for a serving
//! thread: a version may have thousands of files and rules.

use std::collections::BTreeSet;

use devanture_config::Manifest;
use devanture_config::path::BundlePath;
use devanture_site::decide::OwnPath;
use devanture_site::dictionary::Announced;
use devanture_site::rules::Keeping;
use devanture_site::{cache, fingerprint};
use http::HeaderValue;

use devanture_store::records::{DictionariesRecord, PagesDictionary};

/// Minimum freshness of a dictionary in seconds: a day. A stale response is no dictionary (RFC 9842 §2.2.1), and a
/// dictionary that is stale before the next release would be loaded a second time in vain.
const KEPT_SECONDS_MIN: u64 = 86_400;
/// Maximum cost of rule lookups for all files together, as counted by [`Keeping::seconds`]: a version beyond announces
/// no file by its own response.
const COMPARED_MAX: usize = 250_000;

/// Files of a version that browsers keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptFiles {
    /// Files kept by the response of their own path: fingerprinted ones unless a rule differs, other files only by a
    /// rule. Under a stable name, the dictionary of `?v=1` serves `?v=2`.
    by_themselves: BTreeSet<BundlePath>,
    /// Files that rules let no client keep.
    barred: BTreeSet<BundlePath>,
    /// Remaining files, offered by pages.
    linked: Vec<BundlePath>,
    /// The pages' shared dictionary, also offered by pages, with its lifetime in seconds.
    pages: Option<(PagesDictionary, u64)>,
    /// True if the lookups exceeded the limit.
    is_cut: bool,
}

impl KeptFiles {
    /// Computes the files: the dictionaries of `record`, reduced by the rules in `keeping`.
    #[must_use]
    pub fn of(manifest: &Manifest, record: &DictionariesRecord, keeping: &Keeping) -> Self {
        let compared = &mut 0;
        let immutable = HeaderValue::from_static(cache::IMMUTABLE);
        let serves = |path: &BundlePath| {
            let entry = manifest.files.get(path).filter(|_| !path.is_private());
            entry.is_some_and(|entry| record.files.contains_key(&entry.hash))
        };
        let mut linked = Vec::new();
        for path in record.linked.iter().filter(|path| serves(path)) {
            if *compared > COMPARED_MAX {
                break;
            }
            if keeping.seconds(&at(path), &immutable, compared) >= KEPT_SECONDS_MIN {
                linked.push(path);
            }
        }
        let kept_for = |path: String| keeping.seconds(&path, &immutable, &mut 0);
        let pages = record.pages.map(|pages| (pages, kept_for(OwnPath::of_dictionary(pages.sha256))));
        let mut kept = Self { pages, ..Self::default() };
        for path in manifest.files.keys().filter(|path| serves(path)) {
            let is_fingerprinted = fingerprint::is_fingerprinted(path.as_str());
            let usual = HeaderValue::from_static(cache::default_cache_control(is_fingerprinted));
            if keeping.seconds(&at(path), &usual, compared) >= KEPT_SECONDS_MIN {
                kept.by_themselves.insert(path.clone());
            } else if keeping.seconds(&at(path), &immutable, compared) == 0 {
                kept.barred.insert(path.clone());
            }
            if *compared > COMPARED_MAX {
                (kept.by_themselves, kept.is_cut) = (BTreeSet::new(), true);
                break;
            }
        }
        kept.linked = linked.into_iter().filter(|path| !kept.by_themselves.contains(*path)).cloned().collect();
        kept
    }

    /// Returns true if rules forbid every client to keep the file at a path, so that no client has the dictionary.
    #[must_use]
    pub fn is_barred(&self, path: &BundlePath) -> bool {
        self.barred.contains(path)
    }

    /// Files offered by pages.
    #[must_use]
    pub fn linked(&self) -> &[BundlePath] {
        &self.linked
    }

    /// The pages' shared dictionary, if kept at all: a short lifetime suffices, since the dictionary helps within a
    /// visit.
    #[must_use]
    pub fn pages(&self) -> Option<PagesDictionary> {
        self.pages.filter(|(_, seconds)| *seconds > 0).map(|(pages, _)| pages)
    }

    /// The pages' shared dictionary, if still kept at the next release.
    #[must_use]
    pub fn pages_found_again(&self) -> Option<PagesDictionary> {
        self.pages.filter(|(_, seconds)| *seconds >= KEPT_SECONDS_MIN).map(|(pages, _)| pages)
    }

    /// Returns true if the rules were too many to determine the files that browsers keep by themselves.
    #[must_use]
    pub const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Files that browsers keep by the responses of their own paths.
    #[must_use]
    pub fn announced_by_themselves<'m>(&'m self, manifest: &Manifest) -> Announced<'m> {
        let (fingerprinted, others): (Vec<&BundlePath>, Vec<_>) =
            self.by_themselves.iter().partition(|path| fingerprint::is_fingerprinted(path.as_str()));
        let size = |path: &BundlePath| manifest.files.get(path).map_or(0, |entry| entry.size);
        let files = fingerprinted.into_iter().map(|path| (path.as_str(), size(path)));
        Announced::new(files).with_exact(others.into_iter().map(BundlePath::as_str))
    }

    /// Files that browsers keep, without the shared dictionary.
    #[must_use]
    pub fn announced<'m>(&'m self, manifest: &Manifest) -> Announced<'m> {
        self.announced_by_themselves(manifest).with_exact(self.linked.iter().map(BundlePath::as_str))
    }

    /// The file that a browser sends as its dictionary with a request for `path` after the next release: a file with a
    /// stable name is not requested while kept, unless pages change its query.
    #[must_use]
    pub fn found_again<'m>(&self, announced: &Announced<'m>, path: &str) -> Option<&'m str> {
        let preferred = announced.preferred(path)?;
        let is_linked = || self.linked.iter().any(|linked| linked.as_str() == path);
        (preferred != path || is_linked()).then_some(preferred)
    }
}

/// The path at which a file answers.
fn at(path: &BundlePath) -> String {
    format!("/{path}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use devanture_config::manifest::FileEntry;
    use devanture_config::site_toml::{Rules, Serving};
    use devanture_config::{Digest, Sha256};

    use crate::version::RuleFiles;

    /// The kept files among `files`, with `headers` as rule file.
    fn kept(files: &[&str], linked: &[&str], headers: &str, meaning: Rules) -> KeptFiles {
        let entry = |path: &str| FileEntry { hash: Digest::of(path.as_bytes()), size: 5_000, media_type: None };
        let files: BTreeMap<BundlePath, FileEntry> =
            files.iter().map(|path| (path.parse().unwrap(), entry(path))).collect();
        let manifest = Manifest::of_files(files);
        let sha256 = |entry: &FileEntry| (entry.hash, Sha256::from([7; 32]));
        let record = DictionariesRecord {
            files: manifest.files.values().map(sha256).collect(),
            linked: linked.iter().map(|path| path.parse().unwrap()).collect(),
            ..DictionariesRecord::default()
        };
        let rules = RuleFiles::of("", headers).rules(&Serving::default(), meaning, 100_000);
        KeptFiles::of(&manifest, &record, &Keeping::new(&rules.headers))
    }

    fn names(kept: &KeptFiles) -> (Vec<&str>, Vec<&str>) {
        (
            kept.by_themselves.iter().map(BundlePath::as_str).collect(),
            kept.linked.iter().map(BundlePath::as_str).collect(),
        )
    }

    const APP: &str = "assets/app-3f2a91bc.js";

    #[test]
    fn a_fingerprinted_file_is_kept_unless_a_rule_says_otherwise_and_any_other_only_by_a_rule_and_for_a_day() {
        // The files kept by themselves, and the offered files.
        for (headers, by_themselves, linked) in [
            ("", &[APP][..], &["lib.js"][..]),
            ("/other\n  Cache-Control: no-store\n", &[APP], &["lib.js"]),
            ("/*\n  X-Frame-Options: DENY\n", &[APP], &["lib.js"]),
            ("/*\n  Cache-Control: no-store\n", &[], &[]),
            ("/*\n  Cache-Control: public, max-age=3600\n", &[], &[]),
            ("/*\n  Cache-Control: public, max-age=86399\n", &[], &[]),
            ("/*\n  Cache-Control: public, max-age=86400\n", &[APP, "lib.js"], &[]),
            ("/lib.js\n  Cache-Control: max-age=31536000\n", &[APP, "lib.js"], &[]),
            ("/*\n  Cache-Control: max-age=0\n/assets/*\n  Cache-Control: max-age=31536000\n", &[], &[]),
            ("/*\n  Cache-Control: no-store\n/assets/*\n  ! Cache-Control\n", &[], &[]),
            ("/*\n  ! Use-As-Dictionary\n", &[], &[]),
            ("/assets/*\n  Use-As-Dictionary: match=\"/*\"\n", &[], &["lib.js"]),
            ("https://shop.example/*\n  Cache-Control: no-store\n", &[], &[]),
        ] {
            let kept = kept(&[APP, "lib.js"], &["lib.js"], headers, Rules::Cloudflare);
            assert_eq!(names(&kept), (by_themselves.to_vec(), linked.to_vec()), "{headers}");
        }
    }

    #[test]
    fn only_what_a_rule_lets_nobody_keep_is_barred() {
        let is_barred = |rule: &str| {
            let headers = format!("/lib.js\n  {rule}\n");
            kept(&[APP, "lib.js"], &[], &headers, Rules::Cloudflare).is_barred(&"lib.js".parse().unwrap())
        };
        for rule in ["Cache-Control: no-store", "Cache-Control: private, max-age=60", "Cache-Control: max-age=0"] {
            assert!(is_barred(rule), "{rule}");
        }
        for rule in ["X-Other: 1", "Cache-Control: max-age=60", "Cache-Control: max-age=86400"] {
            assert!(!is_barred(rule), "{rule}");
        }
    }

    #[test]
    fn what_pages_share_helps_within_a_visit_and_only_what_is_kept_for_a_day_helps_the_next_release() {
        let pages = PagesDictionary { blob: Digest::of(b"pages"), sha256: Sha256::from([7; 32]), size: 5_000 };
        let record = DictionariesRecord { pages: Some(pages), ..DictionariesRecord::default() };
        for (headers, is_offered, is_found_again) in [
            ("", true, true),
            ("/*\n  Cache-Control: max-age=86400\n", true, true),
            ("/*\n  Cache-Control: max-age=3600\n", true, false),
            ("/*\n  Cache-Control: no-store\n", false, false),
        ] {
            let rules = RuleFiles::of("", headers).rules(&Serving::default(), Rules::Netlify, 100_000);
            let kept = KeptFiles::of(&Manifest::of_files(BTreeMap::new()), &record, &Keeping::new(&rules.headers));
            assert_eq!(kept.pages(), is_offered.then_some(pages), "{headers}");
            assert_eq!(kept.pages_found_again(), is_found_again.then_some(pages), "{headers}");
        }
    }

    #[test]
    fn of_rules_that_are_too_many_to_compare_no_file_is_kept_by_itself() {
        let files: Vec<String> = (0..500).map(|number| format!("a/{number}-3f2a91bc.js")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let rules = |count: usize, path: &str| -> String {
            let rule = |number| format!("{path}\n  Cache-Control: public, max-age={}\n", 86_400 + number);
            (0..count).map(rule).collect()
        };
        // Each rule is checked for each file, as are three nodes of the index.
        let of = |rules: &str| kept(&files, &["b.js"], rules, Rules::Netlify);
        let (most, too_many) = (of(&rules(497, "/:a/:b")), of(&rules(498, "/:a/:b")));
        assert!(!most.is_cut() && too_many.is_cut() && too_many.by_themselves.is_empty());
        // No rule matches.
        let elsewhere = of(&rules(2_000, "/elsewhere/:b"));
        assert_eq!((elsewhere.is_cut(), elsewhere.by_themselves.len()), (false, files.len()));
    }

    #[test]
    fn a_look_counts_by_the_bytes_that_it_compares_or_copies() {
        let folder = "f".repeat(200);
        let files: Vec<String> = (0..200).map(|number| format!("{folder}/{number}-3f2a91bc.js")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let comparing = |count: usize| -> String {
            (0..count).map(|number| format!("/*x{number}*\n  Cache-Control: public, max-age=86400\n")).collect()
        };
        let copying = |count: usize| -> String {
            let rule = |n| format!("/:a{n}/:b\n  Cache-Control: public, max-age=86400, x{n}=:a{n}:a{n}\n");
            (0..count).map(rule).collect()
        };
        // Rule lookups in this number alone are well within the bound.
        for (meaning, few, many) in
            [(Rules::Netlify, comparing(20), comparing(100)), (Rules::Cloudflare, copying(20), copying(100))]
        {
            let (few, many) = (kept(&files, &[], &few, meaning), kept(&files, &[], &many, meaning));
            assert_eq!((few.is_cut(), many.is_cut()), (false, true), "{meaning:?}");
        }
    }

    #[test]
    fn what_is_kept_under_a_name_that_stays_is_not_found_again_by_the_next_release() {
        let rule = "/site.js\n  Cache-Control: max-age=86400\n";
        let kept = kept(&[APP, "lib.js", "site.js"], &["lib.js"], rule, Rules::Cloudflare);
        let announced = kept.announced(&Manifest::of_files(BTreeMap::new()));
        let found = |path| kept.found_again(&announced, path);
        assert_eq!(found("assets/app-8d41f0aa.js"), Some(APP));
        assert_eq!(found("lib.js"), Some("lib.js"));
        assert_eq!((announced.preferred("site.js"), found("site.js")), (Some("site.js"), None));
    }
}
