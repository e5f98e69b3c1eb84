//! The hostnames of environments' own: which of them visitors are sent to, and the table that requests look them up in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use devanture_config::names::Canonical;
use devanture_config::{AppName, HostPattern, Hostname, PlaceName};
use tokio::sync::watch;

use super::{HostEntry, Hosts, Live};
use crate::catalog::records::{HostnameRecord, ListedHostnames};

/// The name that all others of an environment lead to, where there is one: what the API said; else what the live
/// version's manifest says, as far as the environment has that name; else the first exact name that the manifest lists;
/// else the one that the environment has had for longest.
pub(crate) fn canonical<'n>(
    listed: Option<&ListedHostnames>,
    own: impl Iterator<Item = (&'n HostPattern, &'n HostnameRecord)>,
) -> Option<Hostname> {
    let own: BTreeMap<Hostname, &HostnameRecord> =
        own.filter_map(|(name, record)| Some((name.exact()?, record))).collect();
    if let Some((name, _)) = own.iter().find(|(_, record)| record.canonical) {
        return Some(name.clone());
    }
    match listed.and_then(|listed| listed.canonical.as_ref()) {
        Some(Canonical::None) => return None,
        Some(Canonical::Name(name)) if own.contains_key(name) => return Some(name.clone()),
        _ => {}
    }
    let mut first = listed.into_iter().flat_map(|listed| &listed.hostnames).filter_map(HostPattern::exact);
    let first = first.find(|name| own.contains_key(name));
    // Of two that came at once the map's order counts, so that every node says the same.
    first.or_else(|| own.iter().min_by_key(|(_, record)| record.added_ms).map(|(name, _)| name.clone()))
}

impl Hosts {
    /// Derives what requests look up anew from the whole of what is known; `place_host` names a place's own hostname.
    pub(super) fn index(&mut self, place_host: impl Fn(&AppName, &PlaceName) -> String) {
        self.by_name = HashMap::with_capacity(self.places.len() + self.custom.len());
        self.below = HashMap::new();
        for ((app, name), place) in &self.places {
            let entry = HostEntry { place: Arc::clone(place), custom: false, canonical: None };
            self.by_name.insert(place_host(app, name).into(), entry);
        }
        let mut of_place: HashMap<(&AppName, &PlaceName), Vec<(&HostPattern, &HostnameRecord)>> = HashMap::new();
        for (host, record) in &self.custom {
            of_place.entry((&record.app, &record.environment)).or_default().push((host, record));
        }
        for ((app, environment), own) in of_place {
            let key = (app.clone(), environment.clone());
            let Some(place) = self.places.get(&key) else { continue };
            let canonical = canonical(self.listed.get(&key), own.iter().copied());
            let target: Option<Arc<str>> = canonical.as_ref().map(|name| name.as_str().into());
            for (host, _) in own {
                let exact = host.exact();
                // A wildcard serves itself: one name cannot stand for what may be many sites in one.
                let leads_away = exact.is_some() && exact != canonical;
                let canonical = if leads_away { target.clone() } else { None };
                let entry = HostEntry { place: Arc::clone(place), custom: true, canonical };
                match exact {
                    Some(name) => self.by_name.insert(name.as_str().into(), entry),
                    None => self.below.insert(host.base().as_str().into(), entry),
                };
            }
        }
    }

    /// The entry of the wildcard that stands for `host`.
    pub(super) fn wildcard(&self, host: &str) -> Option<&HostEntry> {
        let (label, base) = host.split_once('.')?;
        if label.is_empty() { None } else { self.below.get(base) }
    }
}

impl Live {
    /// The exact hostnames of environments that have something live, in their ASCII form, sorted.
    #[must_use]
    pub fn custom_names(&self) -> Vec<String> {
        let hosts = self.0.hosts.load();
        let is_served =
            |record: &HostnameRecord| hosts.places.contains_key(&(record.app.clone(), record.environment.clone()));
        let served = hosts.custom.iter().filter(|(host, record)| !host.is_wildcard() && is_served(record));
        served.map(|(host, _)| host.to_string()).collect()
    }

    /// Tells when [`Live::custom_names`] may have changed.
    #[must_use]
    pub fn custom_names_changed(&self) -> watch::Receiver<()> {
        self.0.names_changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `www` is `www.example.org`, `@` is `example.org` itself.
    fn host(word: &str) -> HostPattern {
        let text = if word == "@" { "example.org".to_owned() } else { format!("{word}.example.org") };
        text.parse().unwrap()
    }

    #[test]
    fn one_name_is_canonical_by_the_strongest_word_about_it() {
        // What the manifest lists, and its `canonical`; what the environment has, the later ones added later, `!` for
        // what the API said; the canonical, or `-` for none.
        #[rustfmt::skip]
        let cases = [
            ["@ www",   "",     "@ www",    "@"],
            ["www @",   "",     "@ www",    "www"],
            ["* www @", "",     "* @ www",  "www"],
            ["@ www",   "www",  "@ www",    "www"],
            ["@ www",   "none", "@ www",    "-"],
            ["@ www",   "none", "@ www!",   "www"],
            ["@ www",   "www",  "@! www",   "@"],
            // A name that another environment has meanwhile leads nobody.
            ["@ www",   "www",  "@",        "@"],
            ["www @",   "",     "@ shop",   "@"],
            // Names of the API alone: the first.
            ["",        "",     "www @ a",  "www"],
            ["",        "a",    "www @ a",  "a"],
            ["",        "",     "*",        "-"],
            ["",        "",     "",         "-"],
        ];
        for [listed, said, own, expected] in cases {
            let record = |index: usize, word: &str| {
                let record = HostnameRecord {
                    app: "shop".parse().unwrap(),
                    environment: PlaceName::prod(),
                    added_ms: index as u64,
                    by_api: false,
                    canonical: word.ends_with('!'),
                    who: String::new(),
                };
                (host(word.trim_end_matches('!')), record)
            };
            let records: Vec<_> = own.split_whitespace().enumerate().map(|(index, word)| record(index, word)).collect();
            let listed = ListedHostnames {
                hostnames: listed.split_whitespace().map(host).collect(),
                canonical: match said {
                    "" => None,
                    "none" => Some(Canonical::None),
                    word => host(word).exact().map(Canonical::Name),
                },
            };
            let found = canonical(Some(&listed), records.iter().map(|(name, record)| (name, record)));
            let expected = (expected != "-").then(|| host(expected));
            assert_eq!(found.map(HostPattern::from), expected, "{listed:?} {own}");
        }
        assert_eq!(canonical(None, std::iter::empty()), None);
    }
}
