//! Names of apps that clash with the edge's own: reserved ones, and those whose hostname is the domain of previews.

use devanture_config::edge_toml::{EdgeFile, Names};
use devanture_config::{AppName, PlaceName};

use crate::catalog::scan::Scan;
use crate::catalog::{self, Catalog, records};
use crate::live::Domains;

/// Why no new app may have a name, as a sentence; `None` where one may.
pub(super) fn why_reserved(domains: &Domains, names: &Names, app: &AppName) -> Option<String> {
    let host = domains.place_host(app, &PlaceName::prod());
    if domains.is_above_previews(&host) {
        return Some(format!("{host} is the domain of previews, or lies above it, so no app is called {app}."));
    }
    names.is_reserved(app).then(|| format!("The name {app} is reserved on this edge."))
}

/// Lists what clashes in `edge.toml` and in the catalog, where there is one: a sentence for each name.
///
/// # Errors
/// Where the catalog cannot be read.
pub async fn clashing_names(file: &EdgeFile, catalog: Option<&dyn Catalog>) -> Result<Vec<String>, catalog::Error> {
    let domains = Domains::new(file.domain.clone(), file.preview_domain.clone());
    let allowed = file.names.allow.iter();
    let in_vain = allowed.filter(|app| domains.is_above_previews(&domains.place_host(app, &PlaceName::prod())));
    let mut found: Vec<String> =
        in_vain.map(|app| format!("`names.allow` has {app}, which no app can have: it answers for previews")).collect();
    let Some(catalog) = catalog else { return Ok(found) };
    let mut apps = Scan::new(catalog, records::APPS_PREFIX);
    while let Some((key, _)) = apps.next().await? {
        let Some(Ok(app)) = key.strip_prefix(records::APPS_PREFIX).map(str::parse::<AppName>) else { continue };
        if let Some(why) = why_reserved(&domains, &file.names, &app) {
            found.push(format!("the app {app} was made before its name was reserved, and keeps it: {why}"));
        }
    }
    Ok(found)
}
