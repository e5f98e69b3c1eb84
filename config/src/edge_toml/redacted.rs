//! `edge.toml` for display: without secrets, paths to secrets, and names of apps.
//!
//! Displayed keys are listed here; every other text is hidden, so a new key stays hidden until added.

use serde_json::{Map, Value};
use url::Url;

/// Replacement of a hidden text.
pub const HIDDEN: &str = "(hidden)";
/// Keys with displayed texts: words, addresses, sizes or folders.
const SHOWN: [&str; 44] = [
    "access_log.addresses",
    "access_log.format",
    "access_log.queries",
    "access_log.to",
    "acme.challenges",
    "blobs.bucket",
    "blobs.cache_bytes_max",
    "blobs.kind",
    "blobs.prefix",
    "blobs.region",
    "catalog.kind",
    "catalog.prefix",
    "cluster.advertise",
    "cluster.folder",
    "cluster.listen",
    "console",
    "data_dir",
    "dns.servers",
    "domain",
    "listen.admin",
    "listen.http",
    "listen.https",
    "listen.trusted_proxies",
    "log.access",
    "node",
    "oidc.groups.role",
    "oidc.groups_claim",
    "oidc.scopes",
    "preview_domain",
    "previews",
    "runner.cgroup",
    "runner.folder",
    "runner.images.network",
    "runner.images.socket",
    "runner.path",
    "runner.php_fpm",
    "runner.spawner",
    "runner.uids",
    "tls.mode",
    "tls.profile",
    "trust.role",
    "trust.scope",
    "upstreams.allow",
    "upstreams.sockets",
];
/// Keys with URLs, displayed without user, path and query.
const ORIGINS: [&str; 5] = ["acme.directory", "blobs.endpoint", "catalog.endpoints", "oidc.issuer", "trust.issuer"];
/// Table with names of apps as keys.
const BY_APP: &str = "limits.apps";

/// Returns the file as JSON without comments, with names of apps only if `shown_names`; `None` for invalid TOML.
#[must_use]
pub fn redacted(text: &str, shown_names: bool) -> Option<Value> {
    let table: toml::Table = text.parse().ok()?;
    Some(shown_table("", &table, shown_names))
}

fn shown_table(path: &str, table: &toml::Table, shown_names: bool) -> Value {
    let hides_keys = path == BY_APP && !shown_names;
    let entries = table.iter().enumerate().map(|(number, (key, value))| {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let key = if hides_keys { format!("app-{}", number.saturating_add(1)) } else { key.clone() };
        (key, shown(&full, value, shown_names))
    });
    Value::Object(entries.collect::<Map<_, _>>())
}

fn shown(path: &str, value: &toml::Value, shown_names: bool) -> Value {
    match value {
        toml::Value::Array(values) => {
            Value::Array(values.iter().map(|value| shown(path, value, shown_names)).collect())
        }
        toml::Value::Boolean(value) => Value::Bool(*value),
        toml::Value::Datetime(value) => Value::String(value.to_string()),
        toml::Value::Float(value) => Value::from(*value),
        toml::Value::Integer(value) => Value::from(*value),
        toml::Value::String(text) => Value::String(shown_text(path, text, shown_names)),
        toml::Value::Table(table) => shown_table(path, table, shown_names),
    }
}

fn shown_text(path: &str, text: &str, shown_names: bool) -> String {
    if SHOWN.contains(&path) || (shown_names && path == "metrics.apps") {
        text.to_owned()
    } else if ORIGINS.contains(&path) {
        origin(text)
    } else {
        HIDDEN.to_owned()
    }
}

/// Returns scheme, host and port of a URL.
fn origin(text: &str) -> String {
    let Ok(url) = Url::parse(text) else { return HIDDEN.to_owned() };
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits every text of the full sample, with its path.
    fn texts(path: &str, value: &mut toml::Value, each: &mut impl FnMut(&str, &mut String)) {
        match value {
            toml::Value::String(text) => each(path, text),
            toml::Value::Array(values) => values.iter_mut().for_each(|value| texts(path, value, each)),
            toml::Value::Table(table) => {
                for (key, value) in table.iter_mut() {
                    let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    texts(&full, value, each);
                }
            }
            _ => {}
        }
    }

    fn sample() -> toml::Value {
        let text = include_str!("../../samples/valid/edge-full.toml");
        toml::Value::Table(text.parse().unwrap())
    }

    /// Keys of the sample with hidden texts.
    const HIDDEN_KEYS: [&str; 36] = [
        "acme.ca",
        "acme.contact",
        "acme.eab_key_file",
        "acme.eab_key_id",
        "catalog.ca",
        "catalog.cert",
        "catalog.key",
        "catalog.password_file",
        "catalog.username",
        "metrics.apps",
        "names.admin",
        "names.allow",
        "names.login",
        "names.reserved",
        "oidc.ca",
        "oidc.client_id",
        "oidc.client_secret_file",
        "oidc.groups.apps",
        "oidc.groups.environments",
        "oidc.groups.group",
        "runner.images.auth_file",
        "runner.images.insecure_registries",
        "runner.images.registries",
        "runner.interpreters.node",
        "runner.interpreters.python3.11",
        "secrets.key_file",
        "tls.certificate",
        "tls.key",
        "tls.ticket_keys",
        "trust.app",
        "trust.audience",
        "trust.ca",
        "trust.claims.ref",
        "trust.claims.repository",
        "trust.environments",
        "trust.name",
    ];

    #[test]
    fn every_text_that_is_or_leads_to_a_secret_is_hidden() {
        let mut file = sample();
        let mut hidden = Vec::new();
        texts("", &mut file, &mut |path, text| {
            let is_origin = ORIGINS.contains(&path);
            if !SHOWN.contains(&path) && !is_origin {
                hidden.push(path.to_owned());
            }
            if is_origin {
                *text = "https://planted-user:planted-word@s3.example.org:9000/planted?planted=1".to_owned();
            } else if !SHOWN.contains(&path) {
                *text = format!("planted-{path}");
            }
        });
        hidden.sort();
        hidden.dedup();
        hidden.retain(|path| !path.starts_with("tls.certificates."));
        assert_eq!(hidden, HIDDEN_KEYS, "decide whether a new key is shown");
        for shown_names in [false, true] {
            let toml::Value::Table(table) = &file else { panic!("no table") };
            let mut text = shown_table("", table, shown_names).to_string();
            if shown_names {
                text = text.replace("planted-metrics.apps", "");
            }
            assert!(!text.contains("planted"), "{text}");
            assert!(text.contains("https://s3.example.org:9000"), "{text}");
            assert_eq!(text.contains("\"shop\""), shown_names, "{text}");
        }
    }

    #[test]
    fn words_numbers_and_addresses_stay() {
        let text = include_str!("../../samples/valid/edge-full.toml");
        let found = redacted(text, false).unwrap();
        assert_eq!(found["listen"]["https"], "0.0.0.0:443");
        assert_eq!(found["limits"]["connections_max"], 65_536);
        assert_eq!(found["tls"]["certificates"][0]["key"], HIDDEN);
        assert_eq!(redacted("a = ", false), None);
    }

    #[test]
    fn every_key_that_is_shown_is_one_of_the_sample() {
        let mut found = Vec::new();
        texts("", &mut sample(), &mut |path, _| found.push(path.to_owned()));
        // The earlier spelling cannot appear beside the new key.
        let missing: Vec<_> = SHOWN
            .iter()
            .chain(&ORIGINS)
            .filter(|key| **key != "log.access" && !found.iter().any(|f| f == *key))
            .collect();
        assert_eq!(missing, Vec::<&&str>::new());
    }
}
