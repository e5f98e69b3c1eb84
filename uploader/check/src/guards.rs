//! Passwords of a single environment: at the version's preview the same files are open.

use std::collections::BTreeSet;

use devanture_config::PlaceName;
use devanture_config::site_toml::check::OPEN_PREVIEW;
use devanture_config::site_toml::{Explained, Origin, SiteFile};

use super::finding::Finding;

/// Returns warnings about rules that ask for a password in one of `places` and not in previews.
pub(crate) fn open_in_previews(site: &SiteFile, places: &[PlaceName]) -> Vec<Finding> {
    let held: BTreeSet<String> = guards(site, Some(&PlaceName::preview())).map(|(path, _)| path).collect();
    let (mut findings, mut seen) = (Vec::new(), BTreeSet::new());
    for place in places.iter().filter(|place| !place.is_preview()) {
        for (path, origin) in guards(site, Some(place)) {
            let (file, line) = match origin {
                Origin::File(at) => (at.file.to_string(), at.line),
                Origin::Default | Origin::Guessed => (String::new(), 0),
            };
            let is_held = held.contains(&path) || held.contains("/*");
            if is_held || site.check.ignores(OPEN_PREVIEW, &path, None) || !seen.insert((file.clone(), line)) {
                continue;
            }
            findings.push(Finding {
                file,
                line,
                column: 0,
                code: OPEN_PREVIEW,
                is_doubt: true,
                message: format!("a password is asked for {path} in {place}, and not at previews of the same version"),
                hint: Some(format!("write it without [env.{place}], or below [env.preview] as well")),
                target: Some(path),
            });
        }
    }
    findings
}

/// Returns the paths that ask for a password in an environment, and the positions of their rules.
fn guards(site: &SiteFile, place: Option<&PlaceName>) -> impl Iterator<Item = (String, Origin)> {
    site.explain(place, None).into_iter().filter_map(|Explained { key, value, origin }| {
        let asks = value.get("basic_auth").and_then(|all| all.as_array()).is_some_and(|all| !all.is_empty());
        let path = value.get("for").and_then(|path| path.as_str()).filter(|_| asks && key.starts_with("headers["))?;
        Some((path.to_owned(), origin))
    })
}
