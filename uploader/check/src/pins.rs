//! Pins of previews: a preview is a single version, and pins no visitor.

use devanture_config::PlaceName;
use devanture_config::site_toml::check::PREVIEW_PIN;
use devanture_config::site_toml::{Origin, Pin, SiteFile};

use super::finding::Finding;

/// Returns the warning about a `pin` of previews alone.
pub(crate) fn of_previews(site: &SiteFile) -> Option<Finding> {
    let preview = PlaceName::preview();
    let said = site.env.get(&preview)?.pin;
    if said != Some(Pin::Session) || site.check.ignores(PREVIEW_PIN, "pin", None) {
        return None;
    }
    let explained = site.explain(Some(&preview), None);
    let origin = explained.into_iter().find(|one| one.key == "pin").map(|one| one.origin);
    let (file, line) = match origin {
        Some(Origin::File(at)) => (at.file.to_string(), at.line),
        Some(Origin::Default | Origin::Guessed) | None => (String::new(), 0),
    };
    Some(Finding {
        file,
        line,
        column: 0,
        code: PREVIEW_PIN,
        is_doubt: true,
        message: "`pin` holds nobody at previews: each is one version".to_owned(),
        hint: Some("write it without [env.preview], or below the environment that holds its visitors".to_owned()),
        target: Some("pin".to_owned()),
    })
}
