//! `edge.toml`: configuration of one edge. The parser turns text into a checked value or a list of all mistakes, and
//! opens no file.

mod access_log;
mod changes;
mod cluster;
mod console;
mod drain;
mod identity;
mod images;
mod listen;
mod metrics;
mod names;
mod net;
mod oidc;
mod redacted;
mod retention;
mod runner;
mod storage;
mod tls;
mod trust;
mod watch;

use std::path::PathBuf;

use crate::api::Protection;
use crate::limits::{Limit, Limits, PER_APP, TABLE};
use crate::names::{AppName, Hostname};
use crate::parsing::reader::Table;

pub use access_log::{AccessLog, LogAddresses, LogFormat, LogTarget};
pub use changes::changed_keys;
pub use cluster::{Cluster, LEASE_S, NODE};
pub use console::Console;
pub use drain::Drain;
pub use identity::{ADVERTISE_VARIABLE, NODE_VARIABLE, NODES_PORT, NodeIdentity};
pub use images::{Images, Network, PODMAN_SOCKET};
pub use listen::Listen;
pub use metrics::Metrics;
pub use names::{Names, RESERVED_NAMES};
pub use net::{AddressBlock, BadBlock, BadDnsServer, DnsServer};
pub use oidc::{OIDC_GROUPS_MAX, Oidc, OidcGrant, OidcGroup};
pub use redacted::{HIDDEN, redacted};
pub use retention::Retention;
pub use runner::{BadControlGroups, BadUids, ControlGroups, RUNNER_PATH, Runner, Uids};
pub use storage::{BlobStore, CACHE_BYTES_MAX, CATALOG_PREFIX, CatalogStore, Etcd, S3, Storage};
pub use tls::{ACME_DIRECTORY, Acme, CertificateFiles, ChallengeKind, ExternalAccount, Tls, TlsProfile};
pub use trust::{BadIssuer, BadPattern, ClaimPattern, Issuer, TRUSTS_MAX, Trust};
pub use watch::Watch;

/// Default time limit of a drain, in milliseconds.
pub const DRAIN_TIMEOUT_MS: u64 = 10_000;

/// Settings of variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compress {
    /// True if a background pass remakes variants at the best level.
    pub background: bool,
    /// Threads of the background pass and of the quick pass; 0 is one per two cores, at least one.
    pub threads: usize,
    /// True if files are also sent as deltas to browsers with an earlier file (RFC 9842).
    pub dictionaries: bool,
    /// Number of days: files of versions live within these days serve as dictionaries.
    pub dictionary_days: u64,
    /// Maximum number of versions whose files serve as dictionaries for the next version.
    pub dictionary_versions: usize,
}

impl Default for Compress {
    fn default() -> Self {
        Self { background: true, threads: 0, dictionaries: true, dictionary_days: 30, dictionary_versions: 5 }
    }
}

/// Non-public targets allowed for the routes of every app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstreams {
    /// Blocks of private, loopback and reserved addresses.
    pub allow: Vec<AddressBlock>,
    /// Folders of sockets.
    pub sockets: Vec<PathBuf>,
}

/// Returns the data folder named in `text`, even if the file has other mistakes; `None` without a folder or valid TOML.
#[must_use]
pub fn data_dir_of(text: &str) -> Option<PathBuf> {
    let table: toml::Table = text.parse().ok()?;
    table.get("data_dir")?.as_str().filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// Checked content of the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeFile {
    /// Access log.
    pub access_log: AccessLog,
    /// Cluster of this edge, if any.
    pub cluster: Option<Cluster>,
    /// Settings of variants.
    pub compress: Compress,
    /// Console to install at the start.
    pub console: Console,
    /// Data folder of the edge, relative to `edge.toml`.
    pub data_dir: PathBuf,
    /// DNS servers; if empty, the system's resolvers.
    pub dns_servers: Vec<DnsServer>,
    /// Parent domain of apps.
    pub domain: Hostname,
    /// Time limits of a drain other than the limit of requests.
    pub drain: Drain,
    /// Time limit of requests in a drain, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Limits.
    pub limits: Limits,
    /// Listening sockets.
    pub listen: Listen,
    /// Labels of the metrics.
    pub metrics: Metrics,
    /// Names forbidden for new apps.
    pub names: Names,
    /// Name of this node.
    pub node: String,
    /// Login provider for people, if any.
    pub oidc: Option<Oidc>,
    /// Parent domain of previews.
    pub preview_domain: Hostname,
    /// Default protection of previews.
    pub previews: Protection,
    /// Retention.
    pub retention: Retention,
    /// Runner of backends.
    pub runner: Runner,
    /// File of the keys that seal secrets, relative to `edge.toml`; by default beside the data folder, see
    /// [`EdgeFile::secrets_key_file`].
    pub secrets_key_file: Option<PathBuf>,
    /// Stores of records and files.
    pub storage: Storage,
    /// True if the edge takes over from a running edge that serves files this edge cannot load.
    pub take_over_damaged: bool,
    /// File of the keys of TLS tickets, possibly shared with other nodes, relative to `edge.toml`; if absent, the
    /// process uses its own keys.
    pub ticket_keys: Option<PathBuf>,
    /// Source of certificates.
    pub tls: Tls,
    /// Accepted versions of TLS.
    pub tls_profile: TlsProfile,
    /// Trusted issuers of identity tokens, and the tokens given in exchange.
    pub trusts: Vec<Trust>,
    /// Non-public targets allowed for the routes of every app.
    pub upstreams: Upstreams,
    /// Conditions for undoing a watched switch.
    pub watch: Watch,
}

impl EdgeFile {
    /// Returns the file of the keys that seal secrets: by default `data.key` beside the data folder `data`, so a copy
    /// of the folder alone opens no secret. `None` for a data folder without a name.
    #[must_use]
    pub fn secrets_key_file(&self) -> Option<PathBuf> {
        self.secrets_key_file.clone().or_else(|| {
            let mut name = self.data_dir.file_name()?.to_owned();
            name.push(".key");
            Some(self.data_dir.with_file_name(name))
        })
    }

    /// Returns the folder of backends' code and data: by default `data-run` beside the data folder `data`, since the
    /// apps' users need access to this folder and must not have access to the data folder. `None` for a data folder
    /// without a name.
    #[must_use]
    pub fn runner_folder(&self) -> Option<PathBuf> {
        self.runner.folder.clone().or_else(|| {
            let mut name = self.data_dir.file_name()?.to_owned();
            name.push("-run");
            Some(self.data_dir.with_file_name(name))
        })
    }
}

fn required<T>(table: &Table<'_, '_>, key: &str, value: Option<T>, example: &str) -> Option<T> {
    if value.is_none() && !table.has(key) && !table.is_broken() {
        let full = table.full(key);
        table.mistake(key, format!("`{full}` is missing"), Some(&format!("write {key} = {example}")));
    }
    value
}

fn root_table(root: &Table<'_, '_>, identity: &NodeIdentity) -> Option<EdgeFile> {
    // Every key is read before the first `?`, so all mistakes are found.
    let node = cluster::node(root, identity);
    let storage = storage::storage(root);
    let cluster = cluster::cluster(root, storage.as_ref(), identity);
    let data_dir = required(root, "data_dir", root.string("data_dir"), "\"data\"");
    let domain = required(root, "domain", root.parsed("domain"), "\"localhost\"");
    let preview_domain = required(root, "preview_domain", root.parsed("preview_domain"), "\"localhost\"");
    let previews = root.parsed("previews").filter(|one| is_default_of_previews(root, *one)).unwrap_or_default();
    let drain_timeout_ms = root.integer("drain_timeout_ms", 0..=drain::DRAIN_MS_MAX).unwrap_or(DRAIN_TIMEOUT_MS);
    let drain = drain::drain(root, drain_timeout_ms);
    let take_over_damaged = root.boolean("take_over_damaged").unwrap_or(false);
    let listen =
        required(root, "listen", root.table("listen"), "…, as a table [listen]").and_then(|t| listen::listen(&t));
    listen::check_cluster(root, listen.as_ref(), cluster.as_ref());
    let tls = required(root, "tls", root.table("tls"), "…, as a table [tls]");
    let ticket_keys = tls.as_ref().and_then(|table| table.string("ticket_keys")).map(PathBuf::from);
    let tls_profile = tls.as_ref().map(tls::profile).unwrap_or_default();
    let mut tls = tls.and_then(|table| tls::tls(root, &table));
    let compress = root.table("compress").map_or_else(Compress::default, |t| compress(&t));
    let console = console::console(root);
    let access_log = access_log::access_log(root);
    let watch = watch::watch(root);
    let metrics = metrics::metrics(root);
    let names = names::names(root);
    let limits = root.table("limits").map_or_else(Limits::default, |t| limits(&t));
    let retention = root.table("retention").map_or_else(Retention::default, |t| retention(&t));
    let dns_servers = root.table("dns").map_or_else(Vec::new, |t| {
        let servers = t.list("servers").unwrap_or_default();
        t.finish();
        servers
    });
    let upstreams = root.table("upstreams").map(|table| upstreams(&table)).unwrap_or_default();
    let runner = runner::runner(root);
    let trusts = trust::trusts(root);
    let oidc = oidc::oidc(root);
    let secrets_key_file = root.table("secrets").and_then(|table| secrets(&table, data_dir.as_deref()));
    if let (Some(Tls::Acme { authority, .. }), Some(Listen { http: None, .. })) = (&mut tls, &listen) {
        if authority.challenges == [ChallengeKind::Http] {
            root.mistake("acme", "`acme.challenges` is \"http-01\" alone, which needs `listen.http`", None);
        }
        authority.challenges.retain(|kind| *kind != ChallengeKind::Http);
    }
    Some(EdgeFile {
        access_log,
        cluster,
        compress,
        console,
        data_dir: data_dir?.into(),
        dns_servers,
        domain: domain?,
        drain,
        drain_timeout_ms,
        limits,
        listen: listen?,
        metrics,
        names,
        node,
        oidc,
        preview_domain: preview_domain?,
        previews,
        retention,
        runner,
        secrets_key_file,
        storage: storage?,
        take_over_damaged,
        ticket_keys,
        tls: tls?,
        tls_profile,
        trusts,
        upstreams,
        watch,
    })
}

/// Rejects a default that no visitor could pass: passwords and login roles belong to an app.
fn is_default_of_previews(root: &Table<'_, '_>, previews: Protection) -> bool {
    let is_fine = matches!(previews, Protection::Public | Protection::Token | Protection::Off);
    if !is_fine {
        let message = match previews {
            Protection::Password => "`previews` is \"password\", and each app has a password of its own".to_owned(),
            other => format!("`previews` is \"{other}\", which each app sets itself"),
        };
        root.mistake("previews", message, Some("write previews = \"token\"; apps set the others themselves"));
    }
    is_fine
}

fn secrets(table: &Table<'_, '_>, data_dir: Option<&str>) -> Option<PathBuf> {
    let key_file = table.string("key_file").map(PathBuf::from);
    table.finish();
    if let (Some(key_file), Some(data_dir)) = (&key_file, data_dir)
        && key_file.starts_with(data_dir)
    {
        let message = "`secrets.key_file` lies in the data folder, whose copy would then open every secret";
        table.mistake("key_file", message, Some("name a file elsewhere"));
    }
    key_file
}

fn upstreams(table: &Table<'_, '_>) -> Upstreams {
    let allow = table.list("allow").unwrap_or_default();
    let sockets: Vec<String> = table.list("sockets").unwrap_or_default();
    table.finish();
    for folder in sockets.iter().filter(|folder| !folder.starts_with('/')) {
        let message = format!("`upstreams.sockets`: `{folder}` is not the path of a folder from the root on");
        table.mistake("sockets", message, Some("sockets = [\"/run/backends\"]"));
    }
    Upstreams { allow, sockets: sockets.into_iter().map(PathBuf::from).collect() }
}

fn compress(table: &Table<'_, '_>) -> Compress {
    let default = Compress::default();
    let background = table.boolean("background").unwrap_or(default.background);
    let threads = table.integer("threads", 0..=1_024).and_then(|n| usize::try_from(n).ok()).unwrap_or(default.threads);
    let dictionaries = table.boolean("dictionaries").unwrap_or(default.dictionaries);
    let dictionary_days = table.integer("dictionary_days", 1..=365).unwrap_or(default.dictionary_days);
    let versions = table.integer("dictionary_versions", 0..=16).and_then(|n| usize::try_from(n).ok());
    table.finish();
    let dictionary_versions = versions.unwrap_or(default.dictionary_versions);
    Compress { background, threads, dictionaries, dictionary_days, dictionary_versions }
}

fn retention(table: &Table<'_, '_>) -> Retention {
    let default = Retention::default();
    let retention = Retention {
        collect_every_s: table.integer("collect_every_s", 0..=31_536_000).unwrap_or(default.collect_every_s),
        keep_days: table.integer("keep_days", 0..=36_500).unwrap_or(default.keep_days),
        keep_versions: table.integer("keep_versions", 0..=1_000_000).unwrap_or(default.keep_versions),
        undelete_hours: table.integer("undelete_hours", 0..=87_600).unwrap_or(default.undelete_hours),
        collected_hours: table.integer("collected_hours", 0..=87_600).unwrap_or(default.collected_hours),
        scrub_days: table.integer("scrub_days", 0..=3_650).unwrap_or(default.scrub_days),
    };
    table.finish();
    retention
}

fn limits(table: &Table<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    for limit in TABLE {
        let value = table.integer(limit.name, limit.range.0..=limit.range.1);
        if let (Some(value), Some(slot)) = (value, limits.by_name(limit.name)) {
            *slot = value;
        }
    }
    for (name, of_app) in table.named_tables("apps") {
        let may_differ = TABLE.iter().filter(|limit| PER_APP.contains(&limit.name));
        let set = |limit: &Limit| Some((limit.name, of_app.integer(limit.name, limit.range.0..=limit.range.1)?));
        let values = may_differ.filter_map(set).collect();
        let others = TABLE.iter().filter(|limit| !PER_APP.contains(&limit.name));
        for limit in others {
            let message = format!("`{}` holds for all apps alike", limit.name);
            of_app.misplaced(limit.name, message, "move it to [limits]");
        }
        of_app.finish();
        match name.parse::<AppName>() {
            Ok(app) => limits.apps.set(app, values),
            Err(error) => of_app.mistaken(error.to_string()),
        }
    }
    table.finish();
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minimal valid file.
    pub(super) const LEAST: &str = r#"
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
        assert_eq!(edge.drain, Drain::of(10_000));
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
    fn what_is_not_toml_is_not_reported_to_be_missing_too() {
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
