//! App names in conflict with the edge: reserved names, names at the domain of previews, and hostnames of the edge.

use devanture_config::edge_toml::{EdgeFile, Names};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, HostPattern, PlaceName};

use devanture_serve::live::Domains;
use devanture_store::catalog::scan::Scan;
use devanture_store::catalog::{self, Catalog};
use devanture_store::records;
use devanture_store::records::HostnameRecord;

/// Returns the problem of a hostname that equals or covers a hostname of the edge; `None` for all other hostnames.
pub(crate) fn admin_hostname(names: &Names, host: &HostPattern) -> Option<Problem> {
    let name = names.admin_name(host)?;
    let detail = match host.is_wildcard() {
        true => format!("{host} stands for {name}, {}, so no app has it.", kind(names, name)),
        false => format!("{host} is {}, so no app has it.", kind(names, name)),
    };
    let hint = "browsers would send what they keep for the edge to the app: use another hostname";
    Some(Problem::new(Code::NameReserved, detail).hint(hint))
}

/// Returns the purpose of a hostname of the edge.
fn kind(names: &Names, name: &str) -> &'static str {
    if names.is_login(name) { "the hostname where visitors log in" } else { "a hostname of the admin listener" }
}

/// Returns a sentence with the reason if no new app may have a name; `None` for a free name.
pub(crate) fn why_reserved(domains: &Domains, names: &Names, app: &AppName) -> Option<String> {
    let host = domains.place_host(app, &PlaceName::prod());
    if domains.is_above_previews(&host) {
        return Some(format!("{host} is the domain of previews, or lies above it, so no app is called {app}."));
    }
    if let Some(name) = host.parse().ok().and_then(|host| names.admin_name(&host)) {
        return Some(format!("{name} is {}, so no app is called {app}.", kind(names, name)));
    }
    names.is_reserved(app).then(|| format!("The name {app} is reserved on this edge."))
}

/// Lists name conflicts in `edge.toml` and in the catalog, if there is a catalog: a sentence for each name.
///
/// # Errors
/// Errors of the catalog.
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
    let mut hosts = Scan::new(catalog, records::HOSTNAMES_PREFIX);
    while let Some((key, record)) = hosts.next().await? {
        let host = key.strip_prefix(records::HOSTNAMES_PREFIX).and_then(|host| host.parse::<HostPattern>().ok());
        let Some((host, name)) = host.as_ref().and_then(|host| Some((host, file.names.admin_name(host)?))) else {
            continue;
        };
        if let Ok(HostnameRecord { app, environment, .. }) = records::read(&key, &record) {
            found.push(format!(
                "{environment} of the app {app} has the hostname {host}, and {}: \
                 `devanture hostnames remove {host}` takes it away",
                match file.names.is_login(name) {
                    true => format!("visitors log in at {name}"),
                    false => format!("the admin listener has {name}"),
                }
            ));
        }
    }
    Ok(found)
}
