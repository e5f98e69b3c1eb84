//! Custom hostnames of environments: the canonical hostname, and the table that requests read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use devanture_config::{AppName, Canonical, HostPattern, Hostname, PlaceName};

use super::{HostEntry, Hosts, Live, Place};
use crate::version::Setting;
use devanture_store::records::{HostnameRecord, ListedHostnames};

/// Redirects among the hostnames of an environment.
pub(super) type Leading = HashMap<Box<str>, Arc<str>>;

/// The name that all other names of an environment redirect to, if any, in this order: the name set by the API; the
/// live version's manifest's `canonical`, if the environment has the name; the first exact name listed in the manifest;
/// the environment's oldest name.
pub fn canonical<'n>(
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
    // For names added at the same moment the map's order decides, the same on every node.
    first.or_else(|| own.iter().min_by_key(|(_, record)| record.added_ms).map(|(name, _)| name.clone()))
}

impl Hosts {
    /// Rebuilds the tables that requests read from all known records; `place_host` returns a place's own hostname.
    pub(super) fn index(&mut self, place_host: impl Fn(&AppName, &PlaceName) -> String) {
        self.by_name = HashMap::with_capacity_and_hasher(self.places.len() + self.custom.len(), Default::default());
        self.below = HashMap::new();
        self.idle = HashSet::new();
        let mut leading: HashMap<(AppName, PlaceName), Leading> = HashMap::new();
        for ((app, name), place) in &self.places {
            if self.deleted.contains(app) {
                // No wildcard of another owner may answer for the hostname in the meantime.
                self.idle.insert(place_host(app, name).into());
                continue;
            }
            let entry = HostEntry { place: Arc::clone(place), custom: false, canonical: None };
            self.by_name.insert(place_host(app, name).into(), entry);
        }
        let mut of_place: HashMap<(&AppName, &PlaceName), Vec<(&HostPattern, &HostnameRecord)>> = HashMap::new();
        for (host, record) in &self.custom {
            of_place.entry((&record.app, &record.environment)).or_default().push((host, record));
        }
        for ((app, environment), own) in of_place {
            let key = (app.clone(), environment.clone());
            // An alias with an environment's names serves only its preview.
            let place = self.places.get(&key).filter(|place| place.setting == Setting::Environment);
            let Some(place) = place.filter(|_| !self.deleted.contains(app)) else {
                self.idle.extend(own.iter().filter_map(|(host, _)| Some(host.exact()?.as_str().into())));
                continue;
            };
            let canonical = canonical(self.listed.get(&key), own.iter().copied());
            let target: Option<Arc<str>> = canonical.as_ref().map(|name| name.as_str().into());
            for (host, _) in own {
                let exact = host.exact();
                // A wildcard is never redirected: a single name cannot replace possibly many sites.
                let leads_away = exact.is_some() && exact != canonical;
                let canonical = if leads_away { target.clone() } else { None };
                if let Some(canonical) = &canonical {
                    leading.entry(key.clone()).or_default().insert(host.as_str().into(), Arc::clone(canonical));
                }
                let entry = HostEntry { place: Arc::clone(place), custom: true, canonical };
                match exact {
                    Some(name) => self.by_name.insert(name.as_str().into(), entry),
                    None => self.below.insert(host.base().as_str().into(), entry),
                };
            }
        }
        for (key, place) in &self.places {
            place.lead(leading.remove(key).unwrap_or_default());
        }
    }

    /// The entry of the wildcard that covers `host`.
    pub(super) fn wildcard(&self, host: &str) -> Option<&HostEntry> {
        let (label, base) = host.split_once('.')?;
        // An exact name belongs to its owner even without a live version.
        if label.is_empty() || self.idle.contains(host) { None } else { self.below.get(base) }
    }
}

impl Place {
    fn lead(&self, leading: Leading) {
        let leading = (!leading.is_empty()).then(|| Arc::new(leading));
        if *self.leading.load() != leading {
            self.leading.store(leading);
        }
    }

    /// Returns true if visitors of `host` are redirected to `canonical`, another name of the environment.
    pub(crate) fn leads(&self, host: &str, canonical: &str) -> bool {
        self.leading.load().as_ref().and_then(|leading| leading.get(host)).is_some_and(|target| **target == *canonical)
    }
}

impl Live {
    /// The host for visitors of an environment, with or without a live version: the canonical hostname, or else the
    /// edge's own name; true for the former.
    pub fn visitors_host(&self, app: &AppName, environment: &PlaceName) -> (String, bool) {
        let hosts = self.0.hosts.load();
        let own = hosts.custom.iter().filter(|(_, record)| record.is_of(app, environment));
        match canonical(hosts.listed.get(&(app.clone(), environment.clone())), own) {
            Some(name) => (name.to_string(), true),
            None => (self.domains().place_host(app, environment), false),
        }
    }

    /// Hostnames of environments and aliases below the edge's domains, with their apps: of `prod` first, then of other
    /// environments, then of aliases.
    #[must_use]
    pub fn place_names(&self) -> Vec<(AppName, String)> {
        let hosts = self.0.hosts.load();
        let rank = |place: &Place| match place.setting {
            Setting::Environment if place.name.is_prod() => 0,
            Setting::Environment => 1,
            Setting::Preview => 2,
        };
        let named = |(app, name): &(AppName, PlaceName)| (app.clone(), self.domains().place_host(app, name));
        let served = hosts.places.iter().filter(|((app, _), place)| !hosts.deleted.contains(app) && !place.has_ended());
        let mut names: Vec<_> = served.map(|(key, place)| (rank(place), named(key))).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// Exact hostnames of environments with a live version, in ASCII form, sorted, with their apps.
    #[must_use]
    pub fn custom_names(&self) -> Vec<(AppName, String)> {
        let hosts = self.0.hosts.load();
        let exact = hosts.custom.iter().filter(|(host, _)| hosts.by_name.get(host.as_str()).is_some_and(|e| e.custom));
        exact.map(|(host, record)| (record.app.clone(), host.to_string())).collect()
    }

    /// Returns true if an app owns `host`, in lower case: as its own name, a custom name, or by a wildcard; also
    /// without a live version, and while restorable.
    #[must_use]
    pub fn has_owner(&self, host: &str) -> bool {
        let is_given = |pattern: &str| {
            let pattern = pattern.parse::<HostPattern>();
            pattern.is_ok_and(|pattern| self.0.hosts.load().custom.contains_key(&pattern))
        };
        let is_covered = || host.split_once('.').is_some_and(|(_, base)| is_given(&format!("*.{base}")));
        let is_of_known = || self.domains().app_at(host).is_some_and(|app| self.knows(&app));
        self.is_an_apps(host) || is_given(host) || is_covered() || is_of_known()
    }

    /// The wildcard, such as `*.example.org`, that alone covers `host`: a name that any client may invent. Names of
    /// protected previews share one wildcard, existing or not, so that a certificate does not reveal the existence.
    #[must_use]
    pub fn pattern_of(&self, host: &str) -> Option<String> {
        if self.is_of_protected_previews(host) {
            return Some(self.domains().previews_pattern());
        }
        let hosts = self.0.hosts.load();
        if hosts.by_name.contains_key(host) || self.domains().version_host(host).is_some() {
            return None;
        }
        hosts.wildcard(host)?;
        let (_, base) = host.split_once('.')?;
        Some(format!("*.{base}"))
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
        // Names listed in the manifest; the manifest's `canonical`; names of the environment, oldest first, with `!`
        // for the API's choice; the canonical, or `-` for none.
        #[rustfmt::skip]
        let cases = [
            ["@ www",   "",     "@ www",    "@"],
            ["www @",   "",     "@ www",    "www"],
            ["* www @", "",     "* @ www",  "www"],
            ["@ www",   "www",  "@ www",    "www"],
            ["@ www",   "none", "@ www",    "-"],
            ["@ www",   "none", "@ www!",   "www"],
            ["@ www",   "www",  "@! www",   "@"],
            // A name that another environment has taken redirects no visitor.
            ["@ www",   "www",  "@",        "@"],
            ["www @",   "",     "@ shop",   "@"],
            // Names of the API alone: the first.
            ["",        "",     "www @ a",  "www"],
            ["",        "a",    "www @ a",  "a"],
            ["",        "",     "*",        "-"],
            ["",        "",     "",         "-"],
        ];
        for [listed, by_api, own, expected] in cases {
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
                canonical: match by_api {
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

    fn record(app: &str, place: &str) -> HostnameRecord {
        HostnameRecord {
            app: app.parse().unwrap(),
            environment: place.parse().unwrap(),
            added_ms: 0,
            by_api: true,
            canonical: false,
            who: String::new(),
        }
    }

    /// Serves the hostnames `host app place`, separated by `;`, while the `served` places, `app place`, have a live
    /// version; a `~` makes an alias.
    fn live(names: &str, served: &str) -> Live {
        let domain = || "localhost".parse().unwrap();
        let live =
            Live::new(super::super::Domains::new(domain(), domain()), super::super::Grace { ms: 0, versions_max: 0 });
        let mut hosts = Hosts::default();
        for place in served.split(';').map(str::trim) {
            let setting = if place.ends_with('~') { Setting::Preview } else { Setting::Environment };
            let (app, name) = place.trim_end_matches('~').split_once(' ').unwrap();
            let (app, name): (AppName, PlaceName) = (app.parse().unwrap(), name.parse().unwrap());
            hosts.places.insert((app.clone(), name.clone()), Arc::new(Place::new(app, name, setting)));
        }
        for (index, line) in names.split(';').enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let record = HostnameRecord { added_ms: index as u64, ..record(words[1], words[2]) };
            hosts.custom.insert(host(words[0]), record);
        }
        hosts.index(|app, name| live.domains().place_host(app, name));
        live.0.hosts.store(Arc::new(hosts));
        live
    }

    fn place_of(live: &Live, word: &str) -> String {
        live.find(host(word).as_str(), |found| match found {
            super::super::Found::Place(entry) => format!("{} {}", entry.place.app, entry.place.name),
            _ => String::new(),
        })
    }

    #[test]
    fn law_11_a_wildcard_does_not_answer_for_a_name_that_somebody_has() {
        let live =
            live("* blog prod; www shop prod; a blog staging; b shop preview; c shop next", "blog prod; shop next~");
        // No version is live in the first three; an alias does not answer at an environment's names.
        for word in ["www", "a", "b", "c", "@"] {
            assert_eq!(place_of(&live, word), "", "{word}");
            assert_eq!(live.pattern_of(host(word).as_str()), None, "{word}");
        }
        assert_eq!(place_of(&live, "d"), "blog prod");
        assert_eq!(live.custom_names(), []);
    }

    #[test]
    fn an_app_that_was_deleted_answers_on_no_name_and_keeps_them_all() {
        let live = live("* blog prod; www shop prod; @ shop prod", "blog prod; shop prod; shop staging");
        let deleted: AppName = "shop".parse().unwrap();
        let mut hosts = Hosts::clone(&live.0.hosts.load());
        hosts.deleted.insert(deleted.clone());
        hosts.index(|app, name| live.domains().place_host(app, name));
        live.0.hosts.store(Arc::new(hosts));
        for word in ["www", "@"] {
            assert_eq!(place_of(&live, word), "", "{word}");
        }
        assert_eq!(place_of(&live, "a"), "blog prod");
        assert!(!live.serves("shop.localhost") && !live.serves("staging--shop.localhost"));
        assert!(live.serves("blog.localhost"));
        assert!(live.custom_names().iter().chain(&live.place_names()).all(|(app, _)| *app != deleted));
    }

    #[test]
    fn a_name_that_only_a_wildcard_stands_for_is_known_by_it() {
        let live = live("* blog prod; www shop prod", "blog prod; shop prod");
        assert_eq!(live.pattern_of("a.example.org").as_deref(), Some("*.example.org"));
        for host in ["www.example.org", "example.org", "a.b.example.org", "shop.localhost", ""] {
            assert_eq!(live.pattern_of(host), None, "{host}");
        }
        assert_eq!(live.custom_names(), [("shop".parse().unwrap(), "www.example.org".to_owned())]);
    }

    #[test]
    fn visitors_are_led_to_the_canonical_name_also_before_anything_is_live() {
        let live = live("@ shop prod; www shop prod; * blog prod; a shop staging", "shop prod; blog prod");
        for (app, environment, expected) in [
            ("shop", "prod", ("example.org", true)),
            ("shop", "staging", ("a.example.org", true)),
            ("shop", "next", ("next--shop.localhost", false)),
            ("blog", "prod", ("blog.localhost", false)),
        ] {
            let (host, is_canonical) = live.visitors_host(&app.parse().unwrap(), &environment.parse().unwrap());
            assert_eq!((host.as_str(), is_canonical), expected);
        }
    }

    #[test]
    fn a_place_knows_which_of_its_names_lead_to_which() {
        let live = live("@ shop prod; www shop prod; * shop prod; a shop staging", "shop prod; shop staging");
        let place = |name: &str| live.place(&"shop".parse().unwrap(), &name.parse().unwrap()).unwrap();
        assert!(place("prod").leads("www.example.org", "example.org"));
        for (from, to) in
            [("example.org", "www.example.org"), ("b.example.org", "example.org"), ("a.example.org", "example.org")]
        {
            assert!(!place("prod").leads(from, to), "{from} {to}");
        }
        assert!(!place("staging").leads("www.example.org", "example.org"));
    }
}
