//! Limits that may have another value for one app: `[limits.apps.NAME]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Limits, TABLE};
use crate::names::AppName;

/// Limits of one app that `[limits.apps.NAME]` may set to another value for it, in the order in which `devanture usage`
/// lists them.
pub const PER_APP: [&str; 9] = [
    "stored_bytes_per_app_max",
    "versions_max",
    "bundle_files_max",
    "aliases_max",
    "environments_max",
    "hostnames_per_app_max",
    "pushes_per_hour_per_app_max",
    "requests_per_app_max",
    "sent_bytes_per_second_per_app_max",
];

/// Whether 0 means that there is no such limit. Of [`PER_APP`], it does where it is the default; of the others, a limit
/// of 0 lets nothing pass.
#[must_use]
pub fn zero_is_no_limit(name: &str) -> bool {
    TABLE.iter().any(|limit| limit.name == name && limit.default == 0)
}

/// Values of limits that hold for single apps, in place of those of `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppLimits(Arc<BTreeMap<AppName, Vec<(&'static str, u64)>>>);

impl AppLimits {
    /// Sets limits, each of which is in [`PER_APP`], for one app.
    pub fn set(&mut self, app: AppName, values: Vec<(&'static str, u64)>) {
        Arc::make_mut(&mut self.0).insert(app, values);
    }
}

impl Limits {
    /// The limits that hold for `app`. Nothing is copied for an app without values of its own.
    #[must_use]
    pub fn for_app(&self, app: &AppName) -> Cow<'_, Self> {
        let Some(values) = self.apps.0.get(app) else { return Cow::Borrowed(self) };
        let mut limits = self.clone();
        for (name, value) in values {
            if let Some(slot) = limits.by_name(name) {
                *slot = *value;
            }
        }
        Cow::Owned(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_its_own_values_and_those_of_all_apps_for_the_rest() {
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let mut limits = Limits { versions_max: 7, aliases_max: 3, ..Limits::default() };
        limits.apps.set(shop.clone(), vec![("versions_max", 50)]);
        assert_eq!((limits.for_app(&shop).versions_max, limits.for_app(&shop).aliases_max), (50, 3));
        assert!(matches!(limits.for_app(&blog), Cow::Borrowed(_)));
        assert_eq!(limits.for_app(&blog).versions_max, 7);
        for name in PER_APP {
            limits.apps.set(shop.clone(), vec![(name, 1)]);
            assert_eq!(limits.for_app(&shop).value(name), Some(1), "{name}");
        }
    }
}
