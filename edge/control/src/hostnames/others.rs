//! Hostnames of other apps above or below a name: browsers send cookies of a name to all names below.

use std::collections::BTreeSet;

use devanture_config::{AppName, HostPattern};

use crate::ledger::Error;
use devanture_store::catalog::Catalog;
use devanture_store::catalog::scan::Scan;
use devanture_store::records::{self, HostnameRecord};

/// Hostnames of all other apps with reversed labels, so names below a name follow in order.
#[derive(Default)]
pub(super) struct OtherNames(BTreeSet<String>);

impl OtherNames {
    /// Reads the hostnames of all apps except `app`.
    pub(super) async fn read(catalog: &dyn Catalog, app: &AppName) -> Result<Self, Error> {
        let mut others = Self::default();
        let mut names = Scan::new(catalog, records::HOSTNAMES_PREFIX);
        while let Some((key, found)) = names.next().await? {
            if records::read::<HostnameRecord>(&key, &found)?.app != *app {
                others.0.extend(key.strip_prefix(records::HOSTNAMES_PREFIX).map(turned));
            }
        }
        Ok(others)
    }

    /// Returns true if `name` is a hostname of another app.
    pub(super) fn have(&self, name: &HostPattern) -> bool {
        self.0.contains(&turned(&name.to_string()))
    }

    /// Returns true if a hostname of another app is above or below `host`.
    pub(super) fn are_around(&self, host: &HostPattern) -> bool {
        let below = turned(host.base().as_str()) + ".";
        let first = self.0.range(below.clone()..).next();
        first.is_some_and(|name| name.starts_with(&below)) || host.above().any(|above| self.have(&above))
    }
}

/// Returns a name with reversed labels.
fn turned(name: &str) -> String {
    name.rsplit('.').collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_above_and_below_are_around_a_name_and_no_others() {
        let others = OtherNames(["shop.example", "www.deep.example", "*.wide.example"].map(turned).into());
        for (host, expected) in [
            ("www.shop.example", true),
            ("a.b.shop.example", true),
            ("*.shop.example", true),
            ("deep.example", true),
            ("*.deep.example", true),
            ("wide.example", true),
            ("example", true),
            ("shop.example", false),
            ("shopping.example", false),
            ("my-shop.example", false),
            ("a.wide.example", false),
            ("other.example", false),
        ] {
            assert_eq!(others.are_around(&host.parse().unwrap()), expected, "{host}");
        }
        assert!(others.have(&"*.wide.example".parse().unwrap()) && !others.have(&"wide.example".parse().unwrap()));
    }
}
