//! Follows records of hostnames, and updates the table that requests read.

use std::sync::Arc;

use devanture_config::{AppName, HostPattern, PlaceName};

use super::{Follower, Hosts};
use devanture_store::catalog::Record;
use devanture_store::records;

impl Follower {
    /// Applies records of hostnames, all at once.
    pub(super) fn change_names<'c>(&self, records: impl Iterator<Item = (&'c str, Option<&'c Arc<[u8]>>)>) {
        let changes: Vec<NameChange> = records.filter_map(|(key, value)| NameChange::read(key, value)).collect();
        if changes.is_empty() {
            return;
        }
        self.change_hosts(|hosts| changes.iter().for_each(|change| change.apply(hosts)));
    }
}

/// Changes by a record of hostnames; a deleted record has no values.
enum NameChange {
    Host(HostPattern, Option<records::HostnameRecord>),
    Listed((AppName, PlaceName), Option<records::ListedHostnames>),
}

impl NameChange {
    /// Returns `None` for an unreadable record: the previous names stay.
    fn read(key: &str, value: Option<&Arc<[u8]>>) -> Option<Self> {
        fn typed<T: serde::de::DeserializeOwned>(key: &str, value: Option<&Arc<[u8]>>) -> Option<Option<T>> {
            let record = value.map(|value| Record { value: Arc::clone(value), revision: 0 });
            match record.map(|record| records::read(key, &record)).transpose() {
                Ok(read) => Some(read),
                Err(error) => {
                    tracing::error!(key, %error, "a record of hostnames cannot be read");
                    None
                }
            }
        }
        if let Some(host) = key.strip_prefix(records::HOSTNAMES_PREFIX) {
            return Some(Self::Host(host.parse().ok()?, typed(key, value)?));
        }
        let (app, name) = key.strip_prefix("listed/")?.split_once('/')?;
        Some(Self::Listed((app.parse().ok()?, name.parse().ok()?), typed(key, value)?))
    }

    fn apply(&self, hosts: &mut Hosts) {
        match self {
            Self::Host(host, Some(record)) => drop(hosts.custom.insert(host.clone(), record.clone())),
            Self::Host(host, None) => drop(hosts.custom.remove(host)),
            Self::Listed(place, Some(listed)) => drop(hosts.listed.insert(place.clone(), listed.clone())),
            Self::Listed(place, None) => drop(hosts.listed.remove(place)),
        }
    }
}
