//! Checks the origins of `cors`: origins on visitors' own machines have no use for the backends of `prod`.

use devanture_config::site_toml::check::LOCAL_ORIGIN;
use devanture_config::site_toml::{CorsOrigin, Origin, SiteFile};

use super::finding::Finding;

/// Returns warnings about the settings for `prod`.
pub(crate) fn local(site: &SiteFile) -> Vec<Finding> {
    let place = "prod".parse().ok();
    let explained = site.explain(place.as_ref(), None).into_iter().filter(|one| one.key == "cors");
    let mut findings = Vec::new();
    for one in explained {
        let (file, line) = match one.origin {
            Origin::File(at) => (at.file.to_string(), at.line),
            Origin::Default | Origin::Guessed => (String::new(), 0),
        };
        for text in one.value.as_array().into_iter().flatten().filter_map(|origin| origin.as_str()) {
            let is_local = text.parse::<CorsOrigin>().is_ok_and(|origin| origin.is_local());
            if !is_local || site.check.ignores(LOCAL_ORIGIN, text, Some(text)) {
                continue;
            }
            findings.push(Finding {
                file: file.clone(),
                line,
                column: 0,
                code: LOCAL_ORIGIN,
                is_doubt: true,
                message: format!(
                    "`cors` lets whatever runs at {text} on a visitor's machine use the backends of `prod`"
                ),
                hint: Some("name it below [env.staging], or in an overlay".to_owned()),
                target: Some(text.to_owned()),
            });
        }
    }
    findings
}
