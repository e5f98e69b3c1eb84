//! Host used in health checks of instances: the host of their visitors. Frameworks refuse other hosts, for example
//! Django with 400.

use devanture_config::{Canonical, HostPattern, Hostname, Manifest, PlaceName};

use super::health::Authority;
use super::life::Life;
use super::place_user::PREVIEW;

/// Returns the first hostname of an environment in a manifest. Before the first push, or without a proof, the
/// environment does not own the hostname, but a backend written for the hostname accepts no other.
pub(super) fn listed_host(manifest: &Manifest, environment: &str) -> Option<Hostname> {
    if environment == PREVIEW {
        return None;
    }
    let serving = manifest.serving_for(environment);
    match serving.canonical {
        Some(Canonical::Name(name)) => Some(name),
        Some(Canonical::None) | None => serving.hostnames.iter().flatten().find_map(HostPattern::exact),
    }
}

impl Life<'_> {
    /// Returns the host of the visitors of the instance's environment, which may change while the instance runs.
    pub(super) fn authority(&self) -> Authority {
        let (live, id, version) = (self.shared.live.clone(), self.group.id.clone(), self.group.version);
        let environment = id.place.parse::<PlaceName>().ok().filter(|name| !name.is_preview());
        let is_preview = self.group.settings_place == PREVIEW;
        let listed = self.group.inner().set_up.as_ref().and_then(|set_up| set_up.listed_host.clone());
        Box::new(move || {
            let domains = live.domains();
            let host = match &environment {
                None => domains.preview_host(&id.app, &version),
                Some(alias) if is_preview => domains.place_host(&id.app, alias),
                Some(environment) => match (live.visitors_host(&id.app, environment), &listed) {
                    ((_, false), Some(listed)) => listed.to_string(),
                    ((host, _), _) => host,
                },
            };
            domains.authority(&host)
        })
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::site_toml::SiteFile;

    use super::*;

    #[test]
    fn the_first_exact_name_of_a_place_is_the_one_that_it_is_asked_for() {
        let host = |toml: &str, place: &str| {
            let site = SiteFile::parse("devanture.toml", toml).unwrap();
            let mut manifest = Manifest::of_files(std::collections::BTreeMap::new());
            (manifest.base, manifest.env) = (site.base, site.env);
            listed_host(&manifest, place).map(|name| name.to_string())
        };
        let two = "[env.prod]\nhostnames = [\"*.example.org\", \"shop.example.org\", \"www.example.org\"]\n";
        for (toml, place, expected) in [
            (two.to_owned(), "prod", Some("shop.example.org")),
            (format!("{two}canonical = \"www.example.org\"\n"), "prod", Some("www.example.org")),
            (format!("{two}canonical = \"none\"\n"), "prod", Some("shop.example.org")),
            (format!("{two}[env.staging]\nhostnames = [\"s.example.org\"]\n"), "staging", Some("s.example.org")),
            ("[env.prod]\nhostnames = [\"*.example.org\"]\n".to_owned(), "prod", None),
            (String::new(), "prod", None),
            (two.to_owned(), PREVIEW, None),
        ] {
            assert_eq!(host(&toml, place).as_deref(), expected, "{toml} {place}");
        }
    }
}
