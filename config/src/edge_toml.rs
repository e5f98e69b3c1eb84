//! `edge.toml`: how one edge runs. Text in, a checked value or every mistake out; no file is opened here.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::limits::{Limits, TABLE};
use crate::mistake::Mistakes;
use crate::names::Hostname;
use crate::net::{AddressBlock, DnsServer};
use crate::reader::{Reader, Table};
use crate::retention::Retention;

/// How long a drain may take where nothing is said, in milliseconds.
pub const DRAIN_TIMEOUT_MS: u64 = 10_000;
/// The directory of the authority that is asked where no other is named: Let's Encrypt.
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Contacts of one account at an authority.
const CONTACTS_MAX: usize = 10;

/// The sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The HTTPS API; never public.
    pub admin: SocketAddr,
    /// Plain HTTP, which only redirects to HTTPS; off where nothing is said.
    pub http: Option<SocketAddr>,
    /// HTTPS for visitors.
    pub https: SocketAddr,
    /// The port that visitors see, where something before the edge changes it; else that of `https`.
    pub public_port: Option<u16>,
    /// Serving threads; 0 is one per core.
    pub threads: usize,
}

/// A certificate chain and its key, as PEM files; paths are relative to `edge.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How the edge proves to an authority that a name is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// `http-01` (RFC 8555 §8.3): a file over plain HTTP, on port 80 of the name.
    Http,
    /// `tls-alpn-01` (RFC 8737): a handshake, on port 443 of the name.
    TlsAlpn,
}

/// The account of whoever runs the edge at an authority that wants one (RFC 8555 §7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The id of its key.
    pub key_id: String,
    /// The file of its key, in base64url; relative to `edge.toml`.
    pub key_file: PathBuf,
}

/// The authority that certificates are ordered from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// A file of authorities, in PEM, that the directory is trusted by too; relative to `edge.toml`.
    pub ca: Option<PathBuf>,
    /// The ways of proof, best first; at least one. `http-01` is left out where nothing listens for plain HTTP.
    pub challenges: Vec<ChallengeKind>,
    /// Whom the authority writes to, such as `mailto:ops@example.org`.
    pub contact: Vec<String>,
    /// Its directory: an `https` URL.
    pub directory: String,
    /// The account there that the edge's own is bound to.
    pub external_account: Option<ExternalAccount>,
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// From files for the names that they cover, for all others from an authority.
    Acme {
        /// The authority.
        authority: Acme,
        /// The files; there may be none.
        files: Vec<CertificateFiles>,
    },
    /// From files, chosen by SNI; the first where none fits.
    Files(Vec<CertificateFiles>),
    /// From a local authority that the edge makes once.
    SelfSigned,
}

/// How variants are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// Whether a background pass remakes variants at the best level.
    pub background: bool,
    /// Threads for it and for the quick pass; 0 is one per two cores, at least one.
    pub threads: usize,
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// To a file, appended; relative to `edge.toml`.
    File(PathBuf),
    /// Nowhere.
    Off,
    /// To the standard error, as the edge's own log.
    Stderr,
}

/// The whole file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeFile {
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// How variants are made.
    pub compress: Compress,
    /// The folder of everything that the edge keeps; relative to `edge.toml`.
    pub data_dir: PathBuf,
    /// Where DNS is asked; of the system's resolvers where there is none.
    pub dns_servers: Vec<DnsServer>,
    /// The domain below which apps answer.
    pub domain: Hostname,
    /// How long a drain may take, in milliseconds.
    pub drain_timeout_ms: u64,
    /// The limits.
    pub limits: Limits,
    /// The sockets.
    pub listen: Listen,
    /// The domain below which previews answer.
    pub preview_domain: Hostname,
    /// What is kept, and for how long.
    pub retention: Retention,
    /// Where certificates come from.
    pub tls: Tls,
    /// Private and loopback addresses that any app's routes may point to.
    pub upstreams_allow: Vec<AddressBlock>,
}

impl EdgeFile {
    /// Reads `text`; `file` is the name that mistakes are reported under.
    ///
    /// # Errors
    /// All mistakes of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let reader = Reader::new(file, text);
        let document = reader.document();
        let root = reader.table(document.get_ref(), 0..0, "");
        let parsed = root_table(&root);
        root.finish();
        drop(root);
        drop(document);
        reader.finish(parsed)
    }
}

fn required<T>(table: &Table<'_, '_>, key: &str, value: Option<T>, example: &str) -> Option<T> {
    if value.is_none() && !table.has(key) && !table.is_broken() {
        let full = table.full(key);
        table.mistake(key, format!("`{full}` is missing"), Some(&format!("write {key} = {example}")));
    }
    value
}

fn root_table(root: &Table<'_, '_>) -> Option<EdgeFile> {
    // Everything is read before the first `?`, so that all mistakes are found.
    let data_dir = required(root, "data_dir", root.string("data_dir"), "\"data\"");
    let domain = required(root, "domain", root.parsed("domain"), "\"localhost\"");
    let preview_domain = required(root, "preview_domain", root.parsed("preview_domain"), "\"localhost\"");
    let drain_timeout_ms = root.integer("drain_timeout_ms", 0..=3_600_000);
    let listen = required(root, "listen", root.table("listen"), "…, as a table [listen]").and_then(|t| listen(&t));
    let mut tls = required(root, "tls", root.table("tls"), "…, as a table [tls]").and_then(|t| tls(root, &t));
    let compress = root.table("compress").map_or(Compress { background: true, threads: 0 }, |t| compress(&t));
    let access_log = root.table("log").map_or(AccessLog::Stderr, |t| log(&t));
    let limits = root.table("limits").map_or_else(Limits::default, |t| limits(&t));
    let retention = root.table("retention").map_or_else(Retention::default, |t| retention(&t));
    let dns_servers = root.table("dns").map_or_else(Vec::new, |t| {
        let servers = t.list("servers").unwrap_or_default();
        t.finish();
        servers
    });
    let upstreams_allow = root.table("upstreams").map_or_else(Vec::new, |t| {
        let allow = t.list("allow").unwrap_or_default();
        t.finish();
        allow
    });
    if let (Some(Tls::Acme { authority, .. }), Some(Listen { http: None, .. })) = (&mut tls, &listen) {
        if authority.challenges == [ChallengeKind::Http] {
            root.mistake("acme", "`acme.challenges` is \"http-01\" alone, which needs `listen.http`", None);
        }
        authority.challenges.retain(|kind| *kind != ChallengeKind::Http);
    }
    Some(EdgeFile {
        access_log,
        compress,
        data_dir: data_dir?.into(),
        dns_servers,
        domain: domain?,
        drain_timeout_ms: drain_timeout_ms.unwrap_or(DRAIN_TIMEOUT_MS),
        limits,
        listen: listen?,
        preview_domain: preview_domain?,
        retention,
        tls: tls?,
        upstreams_allow,
    })
}

fn listen(table: &Table<'_, '_>) -> Option<Listen> {
    let https = required(table, "https", table.parsed("https"), "\"127.0.0.1:8443\"");
    let admin = required(table, "admin", table.parsed("admin"), "\"127.0.0.1:8444\"");
    let http = table.parsed("http");
    let public_port = table.integer("public_port", 1..=65_535).and_then(|port| u16::try_from(port).ok());
    let threads = table.integer("threads", 0..=1_024).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    table.finish();
    let (https, admin): (SocketAddr, SocketAddr) = (https?, admin?);
    let sockets = [Some(("https", https)), Some(("admin", admin)), http.map(|http| ("http", http))];
    let sockets: Vec<(&str, SocketAddr)> = sockets.into_iter().flatten().collect();
    for (index, (name, socket)) in sockets.iter().enumerate() {
        let clash = sockets.iter().take(index).find(|(_, other)| other == socket && socket.port() != 0);
        if let Some((other, _)) = clash {
            table.mistake(name, format!("`listen.{name}` and `listen.{other}` are the same socket"), None);
        }
    }
    Some(Listen { admin, http, https, public_port, threads })
}

#[derive(Clone, Copy)]
enum TlsMode {
    Acme,
    Files,
    SelfSigned,
}

fn tls(root: &Table<'_, '_>, table: &Table<'_, '_>) -> Option<Tls> {
    let words = &[("self-signed", TlsMode::SelfSigned), ("files", TlsMode::Files), ("acme", TlsMode::Acme)];
    let mode = required(table, "mode", table.word("mode", words), "\"self-signed\"");
    let files = certificate_files(table);
    table.finish();
    let acme = root.table("acme").map(|table| acme(&table));
    let is_acme = matches!(mode, Some(TlsMode::Acme));
    if mode.is_some() && !is_acme && acme.is_some() {
        root.mistake("acme", "`[acme]` says nothing unless `tls.mode` is \"acme\"", Some("write mode = \"acme\""));
    }
    match mode? {
        TlsMode::SelfSigned if files.is_empty() => Some(Tls::SelfSigned),
        TlsMode::SelfSigned => {
            table.mistake(
                "mode",
                "`tls.mode` is \"self-signed\", but certificates are named",
                Some("write mode = \"files\""),
            );
            None
        }
        TlsMode::Files if files.is_empty() => {
            table.mistake(
                "mode",
                "`tls.mode` is \"files\", but no certificate is named",
                Some("add certificate = \"…\" and key = \"…\""),
            );
            None
        }
        TlsMode::Files => Some(Tls::Files(files)),
        TlsMode::Acme => {
            if acme.is_none() && !root.has("acme") {
                let hint = "add [acme] with terms_agreed = true, once you have read the authority's terms";
                table.mistake("mode", "`tls.mode` is \"acme\", but there is no table `[acme]`", Some(hint));
            }
            Some(Tls::Acme { authority: acme??, files })
        }
    }
}

fn certificate_files(table: &Table<'_, '_>) -> Vec<CertificateFiles> {
    let mut files = Vec::new();
    let (certificate, key) = (table.string("certificate"), table.string("key"));
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            files.push(CertificateFiles { certificate: certificate.into(), key: key.into() });
        }
        (None, None) => {}
        (Some(_), None) => table.mistake("certificate", "`tls.certificate` needs `tls.key` beside it", None),
        (None, Some(_)) => table.mistake("key", "`tls.key` needs `tls.certificate` beside it", None),
    }
    for more in table.tables("certificates").unwrap_or_default() {
        let certificate = required(&more, "certificate", more.string("certificate"), "\"cert.pem\"");
        let key = required(&more, "key", more.string("key"), "\"key.pem\"");
        more.finish();
        if let (Some(certificate), Some(key)) = (certificate, key) {
            files.push(CertificateFiles { certificate: certificate.into(), key: key.into() });
        }
    }
    files
}

fn acme(table: &Table<'_, '_>) -> Option<Acme> {
    let directory = table.string("directory").unwrap_or_else(|| ACME_DIRECTORY.to_owned());
    let host = directory.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if host.is_none_or(|host| host.is_empty() || host.contains('@')) || directory.contains(char::is_whitespace) {
        table.mistake(
            "directory",
            "`acme.directory` must be the `https` URL of an authority's directory",
            Some(&format!("for example \"{ACME_DIRECTORY}\"")),
        );
    }
    let contact: Vec<String> = table.list("contact").unwrap_or_default();
    let is_contact = |text: &String| text.strip_prefix("mailto:").is_some_and(|address| address.contains('@'));
    if let Some(wrong) = contact.iter().find(|text| !is_contact(text)) {
        table.mistake("contact", format!("`acme.contact` cannot be \"{wrong}\""), Some("\"mailto:ops@example.org\""));
    }
    if contact.len() > CONTACTS_MAX {
        table.mistake("contact", format!("`acme.contact` has more than {CONTACTS_MAX} addresses"), None);
    }
    match table.boolean("terms_agreed") {
        Some(true) => {}
        None if table.has("terms_agreed") => {}
        _ => table.mistake(
            "terms_agreed",
            "`acme.terms_agreed` must be true: the authority issues to nobody who has not agreed to its terms",
            Some("read them (they are linked from the directory), then write terms_agreed = true"),
        ),
    }
    let external_account = match (table.string("eab_key_id"), table.string("eab_key_file")) {
        (Some(key_id), Some(key_file)) => Some(ExternalAccount { key_id, key_file: key_file.into() }),
        (None, None) => None,
        (Some(_), None) => {
            table.mistake("eab_key_id", "`acme.eab_key_id` needs `acme.eab_key_file` beside it", None);
            None
        }
        (None, Some(_)) => {
            table.mistake("eab_key_file", "`acme.eab_key_file` needs `acme.eab_key_id` beside it", None);
            None
        }
    };
    let ca = table.string("ca").map(PathBuf::from);
    let challenges = challenges(table);
    table.finish();
    Some(Acme { ca, challenges, contact, directory, external_account })
}

fn challenges(table: &Table<'_, '_>) -> Vec<ChallengeKind> {
    let named: Option<Vec<String>> = table.list("challenges");
    let mut kinds = Vec::new();
    for text in named.unwrap_or_else(|| vec!["tls-alpn-01".to_owned(), "http-01".to_owned()]) {
        match text.as_str() {
            "http-01" => kinds.push(ChallengeKind::Http),
            "tls-alpn-01" => kinds.push(ChallengeKind::TlsAlpn),
            other => table.mistake(
                "challenges",
                format!("`acme.challenges` cannot have \"{other}\""),
                Some("\"tls-alpn-01\" and \"http-01\""),
            ),
        }
    }
    if kinds.is_empty() || (kinds.len() > 1 && kinds.first() == kinds.get(1)) || kinds.len() > 2 {
        table.mistake("challenges", "`acme.challenges` must name one or two different ways", None);
    }
    kinds
}

fn compress(table: &Table<'_, '_>) -> Compress {
    let background = table.boolean("background").unwrap_or(true);
    let threads = table.integer("threads", 0..=1_024).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    table.finish();
    Compress { background, threads }
}

fn retention(table: &Table<'_, '_>) -> Retention {
    let default = Retention::default();
    let retention = Retention {
        collect_every_s: table.integer("collect_every_s", 0..=31_536_000).unwrap_or(default.collect_every_s),
        keep_days: table.integer("keep_days", 0..=36_500).unwrap_or(default.keep_days),
        keep_versions: table.integer("keep_versions", 0..=1_000_000).unwrap_or(default.keep_versions),
        undelete_hours: table.integer("undelete_hours", 0..=87_600).unwrap_or(default.undelete_hours),
    };
    table.finish();
    retention
}

fn log(table: &Table<'_, '_>) -> AccessLog {
    let access = table.string("access");
    table.finish();
    match access.as_deref() {
        None | Some("stderr") => AccessLog::Stderr,
        Some("off") => AccessLog::Off,
        Some("") => {
            table.mistake("access", "`log.access` is empty", Some("\"stderr\", \"off\" or the path of a file"));
            AccessLog::Stderr
        }
        Some(path) => AccessLog::File(path.into()),
    }
}

fn limits(table: &Table<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    for limit in TABLE {
        let value = table.integer(limit.name, limit.range.0..=limit.range.1);
        if let (Some(value), Some(slot)) = (value, limits.by_name(limit.name)) {
            *slot = value;
        }
    }
    table.finish();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
data_dir = "data"
domain = "localhost"
preview_domain = "localhost"
[listen]
https = "127.0.0.1:8443"
admin = "127.0.0.1:8444"
[tls]
mode = "self-signed"
"#;

    fn mistakes(text: &str) -> Vec<String> {
        match EdgeFile::parse("edge.toml", text) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.0.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_least_file_of_the_contract_is_read() {
        let edge = EdgeFile::parse("edge.toml", LEAST).unwrap();
        assert_eq!(edge.tls, Tls::SelfSigned);
        assert_eq!(edge.limits, Limits::default());
        assert_eq!(edge.drain_timeout_ms, 10_000);
        assert!(edge.compress.background);
    }

    #[test]
    fn an_empty_file_misses_everything_that_is_needed_at_once() {
        let found = mistakes("");
        for key in ["data_dir", "domain", "preview_domain", "listen", "tls"] {
            assert!(found.iter().any(|m| m.contains(&format!("`{key}` is missing"))), "{key}: {found:#?}");
        }
    }

    #[test]
    fn what_is_not_toml_is_not_said_to_be_missing_too() {
        let found = mistakes(&LEAST.replace("domain = \"localhost\"\n", "domain = localhost\n"));
        assert!(found.iter().all(|m| m.contains("this is not TOML")), "{found:#?}");
    }

    #[test]
    fn every_mistake_has_its_line() {
        let text = LEAST.replace("8444", "8443").replace("self-signed", "selfsigned")
            + "[limits]\nbundle_byte_max = 3\npath_bytes_max = 1\nfile_bytes_max = \"x\"\n[upstreams]\nallow = [\"10.0.0.0/40\"]\n";
        let found = mistakes(&text);
        assert_eq!(found.len(), 6, "{found:#?}");
        assert!(found[0].starts_with("edge.toml:7: `listen.admin` and `listen.https` are the same socket"));
        assert!(found[1].starts_with("edge.toml:9:") && found[1].contains("did you mean \"self-signed\"?"));
        assert!(found[2].contains("did you mean `bundle_bytes_max`?"), "{}", found[2]);
        assert!(found[3].contains("between 16 and 65536"), "{}", found[3]);
        assert!(found[4].contains("must be a whole number, not a text"), "{}", found[4]);
        assert!(found[5].contains("10.0.0.0/40"), "{}", found[5]);
    }

    #[test]
    fn a_server_of_dns_is_an_address_with_or_without_a_port() {
        let text = format!("{LEAST}[dns]\nservers = [\"192.0.2.53\", \"127.0.0.1:5353\", \"::1\", \"[::1]:54\"]\n");
        let found: Vec<String> =
            EdgeFile::parse("edge.toml", &text).unwrap().dns_servers.iter().map(|s| s.0.to_string()).collect();
        assert_eq!(found, ["192.0.2.53:53", "127.0.0.1:5353", "[::1]:53", "[::1]:54"]);
        let found = mistakes(&format!("{LEAST}[dns]\nservers = [\"dns.example\", \"1.1.1.1:0\"]\n"));
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].contains("`dns.example` is not the address of a DNS server"), "{}", found[0]);
    }

    #[test]
    fn files_mode_takes_several_certificates() {
        let text = LEAST.replace(
            "mode = \"self-signed\"",
            "mode = \"files\"\ncertificate = \"a.pem\"\nkey = \"a.key\"\n[[tls.certificates]]\ncertificate = \"b.pem\"\nkey = \"b.key\"",
        );
        let Tls::Files(files) = EdgeFile::parse("edge.toml", &text).unwrap().tls else { panic!("not files") };
        assert_eq!(files.len(), 2);
        assert_eq!(mistakes(&LEAST.replace("self-signed", "files")).len(), 1);
    }

    #[test]
    fn acme_mode_has_an_authority_and_may_have_files() {
        let text = LEAST.replace("self-signed", "acme") + "[acme]\nterms_agreed = true\n";
        let Tls::Acme { authority, files } = EdgeFile::parse("edge.toml", &text).unwrap().tls else {
            panic!("not acme")
        };
        assert_eq!(authority.directory, ACME_DIRECTORY);
        assert_eq!(authority.challenges, [ChallengeKind::TlsAlpn], "nothing listens for plain HTTP");
        assert_eq!((files.len(), authority.contact.len(), authority.external_account), (0, 0, None));

        let with_http = text.replace("[tls]", "http = \"127.0.0.1:8080\"\n[tls]");
        let Tls::Acme { authority, .. } = EdgeFile::parse("edge.toml", &with_http).unwrap().tls else {
            panic!("not acme")
        };
        assert_eq!(authority.challenges, [ChallengeKind::TlsAlpn, ChallengeKind::Http]);

        for (lines, wrong) in [
            ("", "`acme.terms_agreed` must be true"),
            ("terms_agreed = false", "`acme.terms_agreed` must be true"),
            ("terms_agreed = true\nchallenges = [\"dns-01\"]", "cannot have \"dns-01\""),
            ("terms_agreed = true\nchallenges = []", "one or two"),
            ("terms_agreed = true\nchallenges = [\"http-01\", \"http-01\"]", "one or two"),
            ("terms_agreed = true\nchallenges = [\"http-01\"]", "needs `listen.http`"),
            ("terms_agreed = true\ncontact = [\"ops@example.org\"]", "cannot be \"ops@example.org\""),
            ("terms_agreed = true\ndirectory = \"http://a/\"", "must be the `https` URL"),
            ("terms_agreed = true\ndirectory = \"https://\"", "must be the `https` URL"),
            ("terms_agreed = true\neab_key_id = \"a\"", "needs `acme.eab_key_file`"),
            ("terms_agreed = true\nterm_agreed = true", "did you mean `terms_agreed`"),
        ] {
            let found = mistakes(&(LEAST.replace("self-signed", "acme") + "[acme]\n" + lines + "\n")).join("\n");
            assert!(found.contains(wrong), "{lines}: {found}");
        }
        let found = mistakes(&LEAST.replace("self-signed", "acme")).join("\n");
        assert!(found.contains("there is no table `[acme]`"), "{found}");
        let found = mistakes(&(LEAST.to_owned() + "[acme]\nterms_agreed = true\n")).join("\n");
        assert!(found.contains("unless `tls.mode` is \"acme\""), "{found}");
    }
}
