//! `[names]`: names that no app may be given, since visitors or machines take what answers there for the operator's,
//! and hostnames of the edge itself, where browsers keep sessions and visitors log in.

use crate::names::{AppName, HostPattern, Hostname};
use crate::parsing::reader::Table;

/// Names that are reserved by default, below `domain`: what people take for the operator's own pages, what machines ask
/// for without a person by what their manufacturers document (settings of mail and telephony, keys, proxies, policies,
/// enrolment, management, controllers of access points, logs, and what certificates name), and what the documents use
/// for the edge. A word that an app may well be called by is none of them.
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

/// The hostname that the admin listener has on its own machine.
const LOCAL: &str = "localhost";

/// Which names no new app may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Names that are reserved beside [`RESERVED_NAMES`].
    pub reserved: Vec<AppName>,
    /// Names of [`RESERVED_NAMES`] that are not reserved here.
    pub allow: Vec<AppName>,
    /// Hostnames that the admin listener is reached by, beside `localhost`.
    pub admin: Vec<Hostname>,
    /// The hostname at which visitors of what is protected log in.
    pub login: Option<Hostname>,
}

impl Names {
    /// The hostname of the edge itself that `host` is, or stands for.
    #[must_use]
    pub fn admin_name(&self, host: &HostPattern) -> Option<&str> {
        if host.as_str() == LOCAL {
            return Some(LOCAL);
        }
        self.admin.iter().chain(&self.login).find(|name| host.matches(name)).map(Hostname::as_str)
    }

    /// Whether visitors log in at `host`.
    #[must_use]
    pub fn is_login(&self, host: &str) -> bool {
        self.login.as_ref().is_some_and(|login| login.as_str() == host)
    }

    /// Whether no new app may have this name.
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
        // Names of services and policies in DNS begin with `_`, so they are no names of apps at all.
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
