//! Limits with values for single apps: `[limits.apps.NAME]`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Limits, TABLE};
use crate::names::AppName;

/// Limits that `[limits.apps.NAME]` may set for an app, in the order of `devanture usage`.
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

/// Returns true if 0 means no limit. Of [`PER_APP`], these are the limits with default 0; for other limits, 0 permits
/// nothing.
#[must_use]
pub fn zero_is_no_limit(name: &str) -> bool {
    TABLE.iter().any(|limit| limit.name == name && limit.default == 0)
}

/// Values of limits for single apps, in place of the values of `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppLimits(Arc<BTreeMap<AppName, Vec<(&'static str, u64)>>>);

impl AppLimits {
    /// Sets limits of [`PER_APP`] for one app.
    pub fn set(&mut self, app: AppName, values: Vec<(&'static str, u64)>) {
        Arc::make_mut(&mut self.0).insert(app, values);
    }
}

impl Limits {
    /// Returns the limits of `app`, without a copy for an app without special values.
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
