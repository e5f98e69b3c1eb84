//! Hostnames below the edge's domains, resolved to app, environment, alias or version.

use std::sync::OnceLock;

use devanture_config::{AppName, HostPattern, Hostname, PlaceName, SHORT_CHARACTERS, VersionId};

/// Hostnames of other apps with the same parent domain, between which browsers could share cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// No neighbours known: the name belongs to a domain of its owner.
    None,
    /// Siblings: the names share a domain of the edge.
    Beside,
    /// Subdomains: the name is a domain of the edge, or a parent of one.
    Below,
}

/// The two domains, the login hostname, and the public port once known.
#[derive(Debug, Clone)]
pub struct Domains {
    domain: Hostname,
    preview_domain: Hostname,
    login: Option<Hostname>,
    port: OnceLock<u16>,
}

impl Domains {
    /// Takes the domains of `edge.toml`.
    #[must_use]
    pub fn new(domain: Hostname, preview_domain: Hostname) -> Self {
        Self { domain, preview_domain, login: None, port: OnceLock::new() }
    }

    /// Sets the login hostname for visitors of protected content.
    #[must_use]
    pub fn with_login(self, login: Option<Hostname>) -> Self {
        Self { login, ..self }
    }

    /// The login hostname.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_ref().map(Hostname::as_str)
    }

    /// Returns true if `host`, in lower case, is the login hostname.
    #[must_use]
    pub fn is_login(&self, host: &str) -> bool {
        self.login.as_ref().is_some_and(|login| login.as_str() == host)
    }

    /// Sets the public port, once; later calls are ignored. Sockets are bound after all other parts are ready.
    pub fn set_port(&self, port: u16) {
        self.port.set(port).ok();
    }

    /// The hostname of an environment or alias.
    #[must_use]
    pub fn place_host(&self, app: &AppName, name: &PlaceName) -> String {
        name.host_of(app, &self.domain, &self.preview_domain)
    }

    /// The hostname of a version.
    #[must_use]
    pub fn preview_host(&self, app: &AppName, id: &VersionId) -> String {
        format!("{}--{app}.{}", id.short(), self.preview_domain)
    }

    /// A hostname of the edge with the public port, unless 443.
    #[must_use]
    pub fn authority(&self, host: &str) -> String {
        match self.port.get() {
            None | Some(443) => host.to_owned(),
            Some(port) => format!("{host}:{port}"),
        }
    }

    /// The URL of a hostname of the edge.
    #[must_use]
    pub fn url(&self, host: &str) -> String {
        format!("https://{}", self.authority(host))
    }

    /// Returns true if `host` is a domain of the edge, lies below one, or is a wildcard for one, so that only the
    /// operator may assign the name.
    #[must_use]
    pub fn holds(&self, host: &HostPattern) -> bool {
        let base = host.base();
        [&self.domain, &self.preview_domain].iter().any(|domain| base.is_within(domain) || host.matches(domain))
    }

    /// Returns true if `host` is the domain of previews or a parent: a site at `host` could set cookies for every
    /// preview.
    #[must_use]
    pub fn is_above_previews(&self, host: &str) -> bool {
        host.parse::<Hostname>().is_ok_and(|host| self.preview_domain.is_within(&host))
    }

    /// Returns true if `host`, in lower case, lies below one of the domains.
    #[must_use]
    pub fn is_below_one(&self, host: &str) -> bool {
        [&self.domain, &self.preview_domain].iter().any(|domain| labels_below(host, domain).is_some())
    }

    /// Returns true if `host`, in lower case, is one of the domains or lies below one: only the edge may prove the
    /// ownership of the name to an authority.
    #[must_use]
    pub fn has(&self, host: &str) -> bool {
        [&self.domain, &self.preview_domain].iter().any(|domain| domain.as_str() == host) || self.is_below_one(host)
    }

    /// The app whose `prod` would be at `host`, in lower case. `None` for a preview's name, which lies below the other
    /// domain, or has a label with `--` in front of the same domain.
    #[must_use]
    pub fn app_at(&self, host: &str) -> Option<AppName> {
        if self.domain != self.preview_domain && labels_below(host, &self.preview_domain).is_some() {
            return None;
        }
        labels_below(host, &self.domain)?.parse().ok()
    }

    /// The app whose `prod`, environment, alias or version would be at `host`, in lower case.
    #[must_use]
    pub fn app_of(&self, host: &str) -> Option<AppName> {
        let of_label = |label: &str| label.rsplit_once("--").map_or(label, |(_, app)| app).parse().ok();
        [&self.domain, &self.preview_domain].iter().find_map(|domain| of_label(labels_below(host, domain)?))
    }

    /// Position of other apps' hostnames relative to `host`, in lower case.
    #[must_use]
    pub fn neighbours(&self, host: &str) -> Neighbours {
        let domains = [self.domain.as_str(), self.preview_domain.as_str()];
        let is_within = |name: &str, parent: &str| {
            name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if domains.iter().any(|domain| is_within(domain, host)) {
            Neighbours::Below
        } else if domains.iter().any(|domain| is_within(host, domain)) {
            Neighbours::Beside
        } else {
            Neighbours::None
        }
    }

    /// The app of a preview's hostname, and the prefix: an alias, an environment or a short id; `None` for other
    /// hostnames.
    pub(crate) fn preview_host_parts<'h>(&self, host: &'h str) -> Option<(AppName, &'h str)> {
        let (name, app) = labels_below(host, &self.preview_domain)?.split_once("--")?;
        Some((app.parse().ok()?, name))
    }

    /// The app and the short id of a version's hostname.
    pub(crate) fn version_host<'h>(&self, host: &'h str) -> Option<(AppName, &'h str)> {
        self.preview_host_parts(host).filter(|(_, short)| is_short_id(short))
    }

    /// The wildcard for all previews.
    pub(crate) fn previews_pattern(&self) -> String {
        format!("*.{}", self.preview_domain)
    }
}

/// Returns true if a text is the id prefix of a version's hostname.
pub(super) fn is_short_id(text: &str) -> bool {
    text.len() == SHORT_CHARACTERS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The labels of `host` in front of `domain`.
fn labels_below<'h>(host: &'h str, domain: &Hostname) -> Option<&'h str> {
    host.strip_suffix(domain.as_str())?.strip_suffix('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(domain: &str, preview: &str) -> Domains {
        let domains = Domains::new(domain.parse().unwrap(), preview.parse().unwrap());
        domains.set_port(8443);
        domains
    }

    #[test]
    fn hostnames_are_those_of_the_design() {
        let domains = domains("example.app", "preview.example.app");
        let app = "shop".parse().unwrap();
        assert_eq!(domains.place_host(&app, &PlaceName::prod()), "shop.example.app");
        assert_eq!(domains.place_host(&app, &"staging".parse().unwrap()), "staging--shop.preview.example.app");
        let id = VersionId::of(b"");
        assert_eq!(domains.preview_host(&app, &id), "af1349b9f5f9--shop.preview.example.app");
        assert_eq!(domains.url("shop.example.app"), "https://shop.example.app:8443");
    }

    #[test]
    fn what_stands_for_a_domain_is_the_edges_own() {
        let domains = domains("example.app", "preview.example.com");
        for (host, expected) in [
            ("example.app", true),
            ("shop.example.app", true),
            ("a.b.example.app", true),
            ("*.example.app", true),
            ("*.shop.example.app", true),
            ("*.preview.example.com", true),
            ("*.example.com", true),
            ("*.app", true),
            ("example.com", false),
            ("notexample.app", false),
            ("*.com", false),
            ("*.example.org", false),
        ] {
            assert_eq!(domains.holds(&host.parse().unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn a_domain_does_not_lie_below_itself() {
        let domains = domains("example.app", "preview.example.app");
        for (host, expected) in [
            ("admin.example.app", true),
            ("preview.example.app", true),
            ("x.preview.example.app", true),
            ("example.app", false),
            ("notexample.app", false),
            ("app", false),
            ("[::1]", false),
        ] {
            assert_eq!(domains.is_below_one(host), expected, "{host}");
        }
    }

    #[test]
    fn an_app_is_at_one_label_below_its_domain_and_at_none_of_previews() {
        let apart = domains("example.app", "preview.example.app");
        let one = domains("localhost", "localhost");
        let within = domains("apps.example.com", "example.com");
        for (domains, host, expected) in [
            (&apart, "edge.example.app", Some("edge")),
            // An app may be called `preview`.
            (&apart, "preview.example.app", Some("preview")),
            (&apart, "a.edge.example.app", None),
            (&apart, "staging--edge.example.app", None),
            (&apart, "edge.preview.example.app", None),
            (&apart, "example.app", None),
            (&apart, "edge.example.org", None),
            (&one, "edge.localhost", Some("edge")),
            (&one, "staging--edge.localhost", None),
            (&within, "edge.apps.example.com", None),
        ] {
            assert_eq!(domains.app_at(host).as_ref().map(AppName::as_str), expected, "{host}");
        }
    }

    #[test]
    fn names_that_share_a_domain_of_the_edge_are_neighbours() {
        let domains = domains("apps.example.com", "preview.apps.example.com");
        for (host, expected) in [
            ("shop.apps.example.com", Neighbours::Beside),
            ("a.b.apps.example.com", Neighbours::Beside),
            ("staging--shop.preview.apps.example.com", Neighbours::Beside),
            // An app may be called `preview`.
            ("preview.apps.example.com", Neighbours::Below),
            ("apps.example.com", Neighbours::Below),
            ("example.com", Neighbours::Below),
            ("com", Neighbours::Below),
            ("www.example.com", Neighbours::None),
            ("notapps.example.com", Neighbours::None),
            ("ple.com", Neighbours::None),
            ("example.org", Neighbours::None),
        ] {
            assert_eq!(domains.neighbours(host), expected, "{host}");
        }
    }

    #[test]
    fn a_version_is_named_by_twelve_hex_characters_before_its_app() {
        let domains = domains("localhost", "localhost");
        assert_eq!(
            domains.version_host("af1349b9f5f9--shop.localhost").map(|(a, s)| (a.to_string(), s)),
            Some(("shop".to_owned(), "af1349b9f5f9"))
        );
        for host in [
            "af1349b9f5f9.localhost",
            "af1349b9f5f--shop.localhost",
            "zf1349b9f5f9--shop.localhost",
            "af1349b9f5f9--shop.example",
            "af1349b9f5f9--sh.op.localhost",
            "--shop.localhost",
            "localhost",
            "",
        ] {
            assert!(domains.version_host(host).is_none(), "{host}");
        }
    }
}
