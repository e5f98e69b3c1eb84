//! The rules of a manifest, for both the command line and the edge, so that their findings are equal.

use devanture_config::PlaceName;
use devanture_config::manifest::Manifest;
use devanture_config::parsing::Mistake;
use devanture_config::site_toml::HtmlHandling;

use super::{At, RuleSet, RuleTable, Sources, check, read};

/// The table for previews.
const PREVIEW: &str = "preview";

/// The tables whose rules must be valid before a version may go live in `environment`: its own, and the table for
/// previews if present, since every version has a preview too.
#[must_use]
pub fn tables_checked<'m>(manifest: &'m Manifest, environment: &'m str) -> Vec<&'m str> {
    let preview = manifest.env.keys().map(PlaceName::as_str).filter(|name| *name == PREVIEW && *name != environment);
    std::iter::once(environment).chain(preview).collect()
}

/// Parses and checks the rules of `manifest` in `environment`, its name or `preview`; `redirects` and `headers` are the
/// bytes of its rule files, if present.
///
/// Invalid rules are left out, and reported. `site_file` and `at` locate the tables.
#[must_use]
pub fn of_manifest(
    manifest: &Manifest,
    environment: &str,
    redirects: Option<&[u8]>,
    headers: Option<&[u8]>,
    rules_max: usize,
    site_file: &str,
    at: &dyn Fn(RuleTable, usize) -> At,
) -> (RuleSet, Vec<Mistake>) {
    let serving = manifest.serving_for(environment);
    let meaning = manifest.rules_in(&serving);
    let (rules, mut findings) =
        read(&Sources { serving: &serving, meaning, redirects, headers, rules_max, site_file, at });
    let is_literal = serving.html_handling == Some(HtmlHandling::None);
    let has_file = |path: &str| has_file(manifest, is_literal, path);
    findings.extend(check::check(&rules, &serving, &has_file));
    findings.sort_by(|one, other| (one.file.as_str(), one.line).cmp(&(other.file.as_str(), other.line)));
    (rules, findings)
}

/// Returns true if a file answers `path`, which is decoded and begins with a slash; with `is_literal`, only by its
/// exact name.
fn has_file(manifest: &Manifest, is_literal: bool, path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let is_public = |path: &str| manifest.files.get_key_value(path).is_some_and(|(path, _)| !path.is_private());
    if is_literal {
        return is_public(path);
    }
    let bare = path.strip_suffix('/').unwrap_or(path);
    if bare.is_empty() {
        return is_public("index.html");
    }
    is_public(bare) || is_public(&format!("{bare}.html")) || is_public(&format!("{bare}/index.html"))
}

#[cfg(test)]
mod tests {
    use devanture_config::Digest;
    use devanture_config::manifest::FileEntry;

    use super::*;

    fn manifest(paths: &[&str]) -> Manifest {
        let file = || FileEntry { hash: Digest::of(b""), size: 0, media_type: None };
        Manifest::of_files(paths.iter().map(|path| (path.parse().unwrap(), file())).collect())
    }

    #[test]
    fn a_page_is_found_as_visitors_ask_for_it() {
        let manifest = manifest(&["index.html", "about.html", "docs/index.html", "a.js", "_redirects", ".env"]);
        for (path, is_there) in [
            ("/", true),
            ("/index.html", true),
            ("/about", true),
            ("/about/", true),
            ("/docs", true),
            ("/docs/", true),
            ("/a.js", true),
            ("/a", false),
            ("/_redirects", false),
            ("/.env", false),
            ("", true),
        ] {
            assert_eq!(has_file(&manifest, false, path), is_there, "{path}");
        }
        assert!(!has_file(&manifest, true, "/about") && has_file(&manifest, true, "/about.html"));
    }

    #[test]
    fn rules_are_those_of_the_environment() {
        let mut manifest = manifest(&["index.html"]);
        let table = r#"{"redirects":[{"from":"/a","to":"/b"}],"cache":{"/x":{"control":"1h"}}}"#;
        manifest.base = serde_json::from_str(table).unwrap();
        let over = r#"{"redirects":[{"from":"/c","to":"javascript:x"}],"cache":{"/y":{"control":"1h"}}}"#;
        manifest.env.insert("staging".parse().unwrap(), serde_json::from_str(over).unwrap());
        let nowhere = |_, _| At::default();
        let of = |place: &str| of_manifest(&manifest, place, None, None, 100, "devanture.toml", &nowhere);
        let (rules, findings) = of("prod");
        assert_eq!((rules.redirects.len(), rules.headers.len(), findings), (1, 1, Vec::new()));
        let (rules, findings) = of("staging");
        assert_eq!((rules.redirects.len(), rules.headers.len()), (0, 2));
        assert!(findings[0].message.contains("another scheme"), "{findings:?}");
        // Rules beyond the limit take no time.
        let (rules, findings) = of_manifest(&manifest, "prod", None, None, 1, "devanture.toml", &nowhere);
        assert_eq!(rules.redirects.len() + rules.headers.len(), 1);
        assert_eq!(findings.len(), 1, "{findings:?}");
    }
}
