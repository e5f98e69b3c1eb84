//! `[names]`: app names reserved because visitors or machines trust such hostnames as the operator's, and hostnames of
//! the edge for browser sessions and visitor logins.

use crate::names::{AppName, HostPattern, Hostname};
use crate::parsing::reader::Table;

/// Names reserved by default below `domain`: names of an operator's own pages, names that machines request
/// automatically by their manufacturers' documentation (settings of mail and telephony, keys, proxies, policies,
/// enrolment, management, controllers of access points, logs, and subjects of certificates), and names used for the
/// edge in the documents. Plausible names of apps are excluded.
pub const RESERVED_NAMES: &[&str] = &[
    "account",
    "accounts",
    "admin",
    "administrator",
    "api",
    "aruba-conductor",
    "aruba-master",
    "auth",
    "autoconfig",
    "autodiscover",
    "avayacallserver",
    "avayatftpserver",
    "billing",
    "cisco-capwap-controller",
    "cisco-lwapp-controller",
    "ciscocm1",
    "cnsrv1",
    "cnsrv2",
    "cnsrv3",
    "cnsrv4",
    "cnsrv5",
    "console",
    "crl",
    "dashboard",
    "devanture",
    "dns",
    "edge",
    "enterpriseenrollment",
    "enterpriseregistration",
    "extremecontrol",
    "ftp",
    "hivemanager",
    "hostmaster",
    "igelrmserver",
    "imap",
    "imaps",
    "instance-data",
    "isatap",
    "kdc",
    "kerberos",
    "ldap",
    "localhost",
    "loghost",
    "login",
    "logout",
    "lyncdiscover",
    "lyncdiscoverinternal",
    "mail",
    "mailhost",
    "msoid",
    "mta-sts",
    "mx",
    "ns",
    "ns1",
    "ns2",
    "ntp",
    "oauth",
    "ocsp",
    "openpgpkey",
    "pki",
    "pnpntpserver",
    "pnpserver",
    "pnptrustpool",
    "pop",
    "pop3",
    "pop3s",
    "postmaster",
    "preview",
    "previews",
    "provisionserver",
    "puppet",
    "root",
    "ruckuscontroller",
    "salt",
    "security",
    "signin",
    "signup",
    "sip",
    "sipdir",
    "sipexternal",
    "sipinternal",
    "smtp",
    "smtps",
    "ssh",
    "sso",
    "status",
    "submission",
    "support",
    "timehost",
    "unifi",
    "vpn",
    "webmail",
    "webmaster",
    "wlan-controller",
    "wpad",
    "www",
    "zonedirector",
];

/// Hostname of the admin listener on the local machine.
const LOCAL: &str = "localhost";

/// Names forbidden for new apps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names reserved beside [`RESERVED_NAMES`].
    pub reserved: Vec<AppName>,
    /// Names of [`RESERVED_NAMES`] that are allowed here.
    pub allow: Vec<AppName>,
    /// Hostnames of the admin listener, beside `localhost`.
    pub admin: Vec<Hostname>,
    /// Login hostname for visitors of protected pages.
    pub login: Option<Hostname>,
}

impl Names {
    /// Returns the edge's own hostname that `host` equals or covers.
    #[must_use]
    pub fn admin_name(&self, host: &HostPattern) -> Option<&str> {
        if host.as_str() == LOCAL {
            return Some(LOCAL);
        }
        self.admin.iter().chain(&self.login).find(|name| host.matches(name)).map(Hostname::as_str)
    }

    /// Returns true if `host` is the login hostname.
    #[must_use]
    pub fn is_login(&self, host: &str) -> bool {
        self.login.as_ref().is_some_and(|login| login.as_str() == host)
    }

    /// Returns true if the name is forbidden for new apps.
    #[must_use]
    pub fn is_reserved(&self, app: &AppName) -> bool {
        self.reserved.contains(app) || RESERVED_NAMES.contains(&app.as_str()) && !self.allow.contains(app)
    }
}

/// Reads `[names]`.
pub(super) fn names(root: &Table<'_, '_>) -> Names {
    let Some(table) = root.table("names") else { return Names::default() };
    let reserved: Vec<AppName> = table.list("reserved").unwrap_or_default();
    let allow: Vec<AppName> = table.list("allow").unwrap_or_default();
    let admin: Vec<Hostname> = table.list("admin").unwrap_or_default();
    let login = table.parsed("login");
    table.finish();
    for name in allow.iter().filter(|name| reserved.contains(name)) {
        let message = format!("`names.allow` and `names.reserved` both name {name}");
        table.mistake("allow", message, Some("take it out of one of them"));
    }
    Names { reserved, allow, admin, login }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_sorted_and_names_of_apps() {
        assert!(RESERVED_NAMES.is_sorted());
        assert!(RESERVED_NAMES.iter().all(|name| name.parse::<AppName>().is_ok()));
    }

    #[test]
    fn names_that_machines_ask_for_without_a_person_are_no_apps() {
        for name in [
            "aruba-conductor",
            "aruba-master",
            "autoconfig",
            "autodiscover",
            "avayacallserver",
            "cisco-capwap-controller",
            "cisco-lwapp-controller",
            "ciscocm1",
            "cnsrv1",
            "crl",
            "enterpriseenrollment",
            "enterpriseregistration",
            "extremecontrol",
            "igelrmserver",
            "isatap",
            "kerberos",
            "loghost",
            "lyncdiscover",
            "mailhost",
            "msoid",
            "mta-sts",
            "ocsp",
            "openpgpkey",
            "pnpserver",
            "puppet",
            "ruckuscontroller",
            "sip",
            "unifi",
            "wlan-controller",
            "wpad",
            "zonedirector",
        ] {
            assert!(Names::default().is_reserved(&name.parse().unwrap()), "{name}");
        }
        for name in ["time", "tracker", "proxy", "controller", "phone"] {
            assert!(!Names::default().is_reserved(&name.parse().unwrap()), "{name}");
        }
        // DNS names of services and policies begin with `_`, and so are never names of apps.
        for name in ["_acme-challenge", "_dmarc", "_domainkey", "_mta-sts", "_sip", "_tcp"] {
            assert!(name.parse::<AppName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_hostname_of_the_edge_is_found_by_itself_and_by_its_wildcard() {
        let login = Some("login.example.com".parse().unwrap());
        let names = Names { admin: vec!["edge.example.org".parse().unwrap()], login, ..Names::default() };
        for (host, expected) in [
            ("login.example.com", Some("login.example.com")),
            ("*.example.com", Some("login.example.com")),
            ("edge.example.org", Some("edge.example.org")),
            ("EDGE.example.org", Some("edge.example.org")),
            ("*.example.org", Some("edge.example.org")),
            ("localhost", Some("localhost")),
            ("example.org", None),
            ("a.edge.example.org", None),
            ("*.edge.example.org", None),
            ("*.localhost", None),
        ] {
            assert_eq!(names.admin_name(&host.parse().unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn a_name_is_reserved_by_default_or_by_the_file_and_can_be_allowed() {
        let name = |text: &str| text.parse::<AppName>().unwrap();
        let names = Names { reserved: vec![name("intranet")], allow: vec![name("www")], ..Names::default() };
        for (app, expected) in [("admin", true), ("intranet", true), ("www", false), ("shop", false)] {
            assert_eq!(names.is_reserved(&name(app)), expected, "{app}");
        }
    }
}
