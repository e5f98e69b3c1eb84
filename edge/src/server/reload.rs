//! The keys of `edge.toml` that can change at run time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use devanture_config::edge_toml::{AddressBlock, EdgeFile};

use super::threads::Serving;
use devanture_control::ledger;
use devanture_serve::listen::ConnectionLimits;
use devanture_serve::{listen, version};

/// Returns true if [`super::Server::reload`] applies a key of `edge.toml`; any other key requires a restart.
#[must_use]
pub fn is_applied_at_reload(key: &str) -> bool {
    match key {
        "drain_timeout_ms" | "listen.trusted_proxies" | "oidc" | "tls.profile" | "trust" => true,
        "compress.background" | "compress.dictionary_days" | "compress.dictionary_versions" => true,
        // Read at the start of the tasks concerned.
        "retention.collect_every_s" | "watch.before_s" => false,
        // Limits with exceptions for single apps are applied for all apps.
        _ if key.starts_with("limits.apps.") => true,
        _ if key.starts_with("limits.") => {
            let name = key.trim_start_matches("limits.");
            limits_applied().any(|applied| applied == name)
        }
        _ => ["drain.", "oidc.", "retention.", "watch."].iter().any(|table| key.starts_with(table)),
    }
}

fn limits_applied() -> impl Iterator<Item = &'static str> {
    ledger::LIMITS_APPLIED.iter().chain(listen::LIMITS_APPLIED).chain(version::LIMITS_APPLIED).copied()
}

/// Settings that the serving threads read repeatedly.
pub(super) struct Reloadable {
    connections: [ConnectionLimits; 2],
    trusted_proxies: Arc<ArcSwap<Vec<AddressBlock>>>,
    base: PathBuf,
}

impl Reloadable {
    pub(super) fn of(serving: &Serving, base: &Path) -> Self {
        Self {
            connections: [serving.limits.clone(), serving.admin_limits.clone()],
            trusted_proxies: Arc::clone(&serving.handler.trusted_proxies),
            base: base.to_owned(),
        }
    }

    /// Returns the base folder of paths in `edge.toml`.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Applies the settings to new connections, and the trusted proxies to all later requests.
    pub(super) fn set(&self, file: &EdgeFile) {
        for connections in &self.connections {
            connections.set(&file.limits, &file.listen.trusted_proxies);
        }
        self.trusted_proxies.store(Arc::new(file.listen.trusted_proxies.clone()));
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::{PER_APP, TABLE};

    use super::*;

    #[test]
    fn limits_that_are_applied_are_in_the_documents() {
        let documents = include_str!("../../../docs/operating.md");
        let all = limits_applied().chain(["background", "dictionary_days", "dictionary_versions"]);
        let missing: Vec<&str> = all.filter(|name| !documents.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn tables_that_are_applied_are_in_the_documents() {
        let documents = include_str!("../../../docs/operating.md");
        let (_, section) = documents.split_once("### What a reload changes").unwrap();
        let at_once = section.split("* for connections to come").next().unwrap();
        for (key, shown) in [
            ("drain.uploads_ms", "`[drain]`"),
            ("oidc.issuer", "`[oidc]`"),
            ("retention.keep_days", "`[retention]`"),
            ("trust", "`[[trust]]`"),
            ("watch.factor", "`[watch]`"),
        ] {
            assert!(is_applied_at_reload(key) && at_once.contains(shown), "{key}");
        }
    }

    #[test]
    fn limits_that_are_applied_are_limits() {
        let is_one = |name: &&str| TABLE.iter().any(|limit| limit.name == *name);
        let unknown: Vec<&str> = limits_applied().filter(|name| !is_one(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        assert!(is_applied_at_reload("limits.idle_ms_max") && is_applied_at_reload("drain.uploads_ms"));
        let waits = |name: &&&str| !limits_applied().any(|applied| applied == **name);
        let waiting: Vec<&&str> = PER_APP.iter().filter(waits).collect();
        assert!(waiting.is_empty(), "{waiting:?}");
        assert!(is_applied_at_reload("limits.apps.shop.versions_max") && !is_applied_at_reload("compress.threads"));
        assert!(!is_applied_at_reload("limits.connections_max") && !is_applied_at_reload("listen.https"));
    }
}
