//! Checks names and sizes of files: names that some disks treat as equal, and limits of edges.

use std::collections::BTreeMap;

use devanture_config::limits::TABLE;
use devanture_config::parsing::Weight;
use devanture_config::path::BundlePath;
use devanture_config::site_toml::check::{CASE_COLLISION, FINGERPRINT_COLLISION, FOREIGN_FILE, LARGE_FILE, OVER_LIMIT};
use devanture_config::text::{byte_text, counted};
use devanture_site::fingerprint::is_fingerprinted;

/// A finding about a file as a whole; without a path if the finding concerns all files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfFile {
    pub(crate) path: Option<BundlePath>,
    pub(crate) code: &'static str,
    pub(crate) weight: Weight,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

/// Finds names that differ only in case: two files here, and one file on a disk that takes `A` for `a`, with either
/// content.
///
/// The edge refuses such names too, unless warnings are allowed.
pub(crate) fn collisions<'p>(paths: impl Iterator<Item = &'p BundlePath>, allows_doubts: bool) -> Vec<OfFile> {
    let mut by_letters: BTreeMap<String, Vec<&BundlePath>> = BTreeMap::new();
    for path in paths {
        by_letters.entry(path.as_str().to_lowercase()).or_default().push(path);
    }
    let mut found = Vec::new();
    for same in by_letters.values() {
        let Some((first, others)) = same.split_first() else { continue };
        found.extend(others.iter().map(|path| {
            let code = match is_fingerprinted(path.as_str()) && is_fingerprinted(first.as_str()) {
                true => FINGERPRINT_COLLISION,
                false => CASE_COLLISION,
            };
            OfFile {
                path: Some((*path).clone()),
                code,
                weight: if allows_doubts { Weight::Doubt } else { Weight::Mistake },
                message: format!("its name differs from `{first}` in case alone"),
                hint: Some("on disks of macOS and Windows both are one file; --allow-warnings lets them pass"),
            }
        }));
    }
    found
}

/// Settings of other servers and providers, and their replacements here. Files not served by the providers either are
/// left out.
const FOREIGN: [(&str, &str, &str); 12] = [
    (".buildpacks", "Heroku", "say what runs below [server] of devanture.toml"),
    (".htaccess", "Apache", IN_RULES),
    (".htpasswd", "Apache", "protect paths by `Basic-Auth` in _headers"),
    (".jekyll-metadata", "Jekyll", "leave it out"),
    (".nojekyll", "GitHub Pages", "leave it out: nothing is built here"),
    (".surgeignore", "Surge", "leave out what is not for visitors"),
    ("amplify.yml", "AWS Amplify", IN_RULES),
    ("caddyfile", "Caddy", IN_RULES),
    ("cname", "GitHub Pages", "add the hostname by `devanture hostnames add`"),
    ("nginx.conf", "nginx", IN_RULES),
    ("staticwebapp.config.json", "Azure", IN_RULES),
    ("web.config", "IIS", IN_RULES),
];
const IN_RULES: &str = "write its rules in _redirects and _headers, or in devanture.toml";

/// Finds settings files of other servers or providers, which have no effect here.
pub(crate) fn foreign<'p>(paths: impl Iterator<Item = &'p BundlePath>) -> Vec<OfFile> {
    let of_path = |path: &'p BundlePath| {
        let (folder, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
        let lower = name.to_lowercase();
        let (known, of, hint) = FOREIGN.iter().find(|(known, ..)| *known == lower)?;
        // Some are read in any folder; the others only at the top.
        let is_meant = folder.is_empty() || known.starts_with(".ht") || *known == "web.config";
        let and = if path.is_private() { "no visitor gets it" } else { "every visitor can read it" };
        is_meant.then(|| OfFile {
            path: Some(path.clone()),
            code: FOREIGN_FILE,
            weight: Weight::Doubt,
            message: format!("it is for {of}, and says nothing here; {and}"),
            hint: Some(hint),
        })
    };
    paths.filter_map(of_path).collect()
}

/// Finds files, and a total, that an edge with the default limits would refuse, or that exceed the site's own limit.
pub(crate) fn over_limits<'p>(
    files: impl Iterator<Item = (&'p BundlePath, u64)>,
    file_bytes_max: Option<u64>,
) -> Vec<OfFile> {
    let limit = |name: &str| TABLE.iter().find(|limit| limit.name == name).map_or(u64::MAX, |limit| limit.default);
    let mut found = Vec::new();
    let (mut count, mut bytes_total) = (0_u64, 0_u64);
    let over = |path: Option<&BundlePath>, message: String| OfFile {
        path: path.cloned(),
        code: OVER_LIMIT,
        weight: Weight::Doubt,
        message,
        hint: Some("an edge allows no more unless its edge.toml says so below [limits]"),
    };
    for (path, bytes) in files {
        count += 1;
        bytes_total = bytes_total.saturating_add(bytes);
        if let Some(most) = file_bytes_max.filter(|most| bytes > *most) {
            let message = format!("it has {}, and {} are the most", byte_text(bytes), byte_text(most));
            let path = Some(path.clone());
            found.push(OfFile { path, code: LARGE_FILE, weight: Weight::Mistake, message, hint: None });
        }
        let segment = path.as_str().split('/').map(str::len).max().unwrap_or(0) as u64;
        for (what, name, size) in [
            ("bytes", "file_bytes_max", bytes),
            ("bytes in its path", "path_bytes_max", path.as_str().len() as u64),
            ("bytes in one name of its path", "segment_bytes_max", segment),
        ] {
            if size > limit(name) {
                found.push(over(Some(path), format!("it has {size} {what}: {name} is {}", limit(name))));
            }
        }
    }
    if count > limit("bundle_files_max") {
        let most = limit("bundle_files_max");
        found.push(over(None, format!("there are {}: bundle_files_max is {most}", counted(count, "file"))));
    }
    if bytes_total > limit("bundle_bytes_max") {
        let most = limit("bundle_bytes_max");
        found.push(over(None, format!("all files have {bytes_total} bytes: bundle_bytes_max is {most}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> BundlePath {
        text.parse().unwrap()
    }

    #[test]
    fn names_that_differ_in_case_alone_are_reported() {
        let paths = [
            "A.html",
            "a.html",
            "a/b.js",
            "assets/index-BKKq58ag.js",
            "assets/index-bkkq58AG.js",
            "\u{dc}.js",
            "\u{fc}.js",
        ];
        let paths: Vec<BundlePath> = paths.into_iter().map(path).collect();
        let found = collisions(paths.iter(), false);
        assert!(found.iter().all(|found| found.weight == Weight::Mistake));
        assert!(collisions(paths.iter(), true).iter().all(|found| found.weight == Weight::Doubt));
        let found: Vec<_> = found.iter().map(|f| (f.path.as_ref().unwrap().as_str(), f.code)).collect();
        let expected = [
            ("a.html", CASE_COLLISION),
            ("assets/index-bkkq58AG.js", FINGERPRINT_COLLISION),
            ("\u{fc}.js", CASE_COLLISION),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn settings_of_other_servers_are_named() {
        let paths = [".htaccess", ".nojekyll", "CNAME", "a/.htaccess", "a/cname", "docs/vercel.json", "web.config"];
        let paths: Vec<BundlePath> = paths.into_iter().map(path).collect();
        let found: Vec<String> = foreign(paths.iter())
            .into_iter()
            .map(|found| format!("{}: {}", found.path.unwrap(), found.message))
            .collect();
        let expected = [
            ".htaccess: it is for Apache, and says nothing here; no visitor gets it",
            ".nojekyll: it is for GitHub Pages, and says nothing here; no visitor gets it",
            "CNAME: it is for GitHub Pages, and says nothing here; every visitor can read it",
            "a/.htaccess: it is for Apache, and says nothing here; no visitor gets it",
            "web.config: it is for IIS, and says nothing here; every visitor can read it",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_over_a_limit_is_reported() {
        let (small, long) = (path("a"), path(&"b".repeat(300)));
        let files = [(&small, 3_000_000_000_u64), (&long, 10)];
        let found: Vec<_> = over_limits(files.into_iter(), None).into_iter().map(|f| (f.code, f.message)).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.contains("file_bytes_max") && found[1].1.contains("segment_bytes_max"), "{found:?}");
        let own = over_limits([(&small, 11), (&long, 10)].into_iter(), Some(10));
        assert_eq!(own.iter().map(|f| (f.code, f.weight)).collect::<Vec<_>>()[0], (LARGE_FILE, Weight::Mistake));
        let whole = over_limits((0..3).map(|_| (&small, 2_000_000_000)), None);
        assert!(whole[0].message.contains("bundle_bytes_max") && whole[0].path.is_none(), "{whole:?}");
    }
}
