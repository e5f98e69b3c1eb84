//! Checks the expiry of certificates: of files, for visitors, other nodes and etcd, and of ACME certificates in the
//! running edge. No key is read.

use std::path::Path;

use devanture_config::edge_toml::{CatalogStore, EdgeFile, Tls};
use devanture_config::text::counted;

use super::finding::{Finding, Names};
use super::running::Running;
use super::scrape;
use crate::server::{cluster, data_dir};
use devanture_base::clock::now_ms;
use devanture_control::cluster::{CA_FILE, CERTIFICATE_FILE};
use devanture_serve::tls::{AUTHORITY_DAYS_MIN, Certificates, FileCertificate, certificates_in};

const CHECK: &str = "certificates";
/// Days left below which a warning is reported.
const DAYS_WARN: i64 = 14;
/// Days left below which a failure is reported.
const DAYS_FAIL: i64 = 3;
const DAY_S: i64 = 86_400;
const RENEW: &str = "renew it: docs/runbooks/certificates.md";
const RENEW_AUTHORITY: &str = "restart the edge: it makes another one, and `tls/ca.pem` goes to all who trust it";
const RENEW_FOR_NODES: &str = "renew it by `devanture-edge cluster join`: docs/cluster.md";
const REPLACE_CA: &str = "another CA takes its place in three steps: docs/cluster.md";
const RENEW_FOR_ETCD: &str = "renew it with the CA of etcd; the same path is read again: docs/cluster.md";

/// The expiry of a certificate.
struct End {
    /// The subject, such as `shop.example.org`.
    what: String,
    end_s: i64,
    /// Days left below which a warning is reported.
    warn_days: i64,
    advice: &'static str,
}

/// Certificates found in files.
#[derive(Default)]
struct Found {
    ends: Vec<End>,
    /// The names of visitor certificates.
    names: Vec<String>,
    /// Number of unreadable files, whose reason the check of the configuration reports.
    unread: usize,
}

impl Found {
    fn read(&mut self, path: &Path) -> Vec<FileCertificate> {
        let read = certificates_in(path);
        self.unread = self.unread.saturating_add(usize::from(read.is_err()));
        read.unwrap_or_default()
    }

    fn push(&mut self, what: String, end_s: i64, (warn_days, advice): (i64, &'static str)) {
        self.ends.push(End { what, end_s, warn_days, advice });
    }

    /// Adds the first certificate of a file; further certificates of its chain may expire earlier.
    fn add_leaf(&mut self, path: &Path, what: impl FnOnce(&FileCertificate) -> String, then: (i64, &'static str)) {
        if let Some(leaf) = self.read(path).into_iter().next() {
            self.push(what(&leaf), leaf.end_s, then);
            self.names.extend(leaf.names);
        }
    }

    /// Adds a file of authorities, of which one valid authority is enough.
    fn add_authorities(&mut self, path: &Path, what: &str, advice: &'static str) {
        let last = self.read(path).iter().map(|certificate| certificate.end_s).max();
        last.into_iter().for_each(|end_s| self.push(what.to_owned(), end_s, (cluster::WARN_DAYS, advice)));
    }
}

/// Checks the expiry of all certificates.
pub(super) fn look(file: &EdgeFile, base: &Path, running: Option<&Running>, names: Names) -> Vec<Finding> {
    let mut found = Found::default();
    let mut findings = Vec::new();
    match &file.tls {
        Tls::SelfSigned => {
            findings.push(Finding::ok(CHECK, "a local authority signs them, for one machine and for tests"));
        }
        Tls::Acme { files, .. } | Tls::Files(files) => {
            for pair in files {
                let named = |leaf: &FileCertificate| {
                    let name = leaf.names.first().cloned();
                    shown(name.unwrap_or_else(|| pair.certificate.display().to_string()), names)
                };
                found.add_leaf(&base.join(&pair.certificate), named, (DAYS_WARN, RENEW));
            }
        }
    }
    if matches!(file.tls, Tls::Files(_)) && found.unread == 0 {
        findings.extend(uncovered(file, &found.names));
    }
    of_acme(running, names, &mut found);
    of_cluster(file, base, &mut found);
    let now_s = i64::try_from(now_ms() / 1_000).unwrap_or(i64::MAX);
    of_authority(file, base, now_s, &mut found);
    if findings.is_empty() || !found.ends.is_empty() {
        findings.extend(of_ends(&found, now_s));
    }
    findings
}

fn shown(name: String, names: Names) -> String {
    match names {
        Names::Shown => name,
        Names::Counted => "a name".to_owned(),
    }
}

/// Adds the ACME certificates of the running edge.
fn of_acme(running: Option<&Running>, names: Names, found: &mut Found) {
    let Some(running) = running else { return };
    let issued = scrape::series(&running.metrics, "devanture_certificate_expiry_timestamp_seconds");
    for (labels, end) in issued.filter(|(labels, _)| labels.contains("source=\"acme\"")) {
        let name = shown(scrape::label(labels, "name").unwrap_or("?").to_owned(), names);
        #[expect(clippy::cast_possible_truncation, reason = "a time in seconds")]
        found.push(name, end as i64, (DAYS_WARN, RENEW));
    }
}

/// Adds the certificates between nodes, and to etcd.
fn of_cluster(file: &EdgeFile, base: &Path, found: &mut Found) {
    if file.cluster.is_some() {
        let folder = cluster::folder(file, base);
        let own = |_leaf: &FileCertificate| "this node for other nodes".to_owned();
        found.add_leaf(&folder.join(CERTIFICATE_FILE), own, (cluster::WARN_DAYS, RENEW_FOR_NODES));
        found.add_authorities(&folder.join(CA_FILE), "the cluster's CA", REPLACE_CA);
    }
    if let CatalogStore::Etcd(etcd) = &file.storage.catalog {
        if let Some((certificate, _)) = &etcd.identity {
            let own = |_leaf: &FileCertificate| "this edge for etcd".to_owned();
            found.add_leaf(&base.join(certificate), own, (DAYS_WARN, RENEW_FOR_ETCD));
        }
        if let Some(ca) = &etcd.ca {
            found.add_authorities(&base.join(ca), "etcd's CA", RENEW_FOR_ETCD);
        }
    }
}

/// Adds the local authority, which signs for visitors or for the admin listener, if close to expiry.
fn of_authority(file: &EdgeFile, base: &Path, now_s: i64, found: &mut Found) {
    if let Tls::Files(_) = file.tls {
        return;
    }
    let path = Certificates::authority_file(&data_dir(file, base));
    let end_s = found.read(&path).first().map(|authority| authority.end_s);
    if let Some(end_s) = end_s.filter(|end_s| end_s.saturating_sub(now_s) < AUTHORITY_DAYS_MIN * DAY_S) {
        found.push("the local authority".to_owned(), end_s, (AUTHORITY_DAYS_MIN, RENEW_AUTHORITY));
    }
}

/// Reports the edge's own domains without a certificate: apps have names below both domains.
fn uncovered(file: &EdgeFile, names: &[String]) -> Vec<Finding> {
    let mut wildcards = [&file.domain, &file.preview_domain].map(|domain| format!("*.{domain}")).to_vec();
    wildcards.dedup();
    wildcards.retain(|wildcard| !names.contains(wildcard));
    let without = |wildcard: String| {
        let advice = format!("a wildcard covers one label: have {wildcard} added to a certificate");
        Finding::warn(CHECK, format!("none is for {wildcard}"), advice)
    };
    wildcards.into_iter().map(without).collect()
}

fn of_ends(all: &Found, now_s: i64) -> Vec<Finding> {
    let days = |end: &End| end.end_s.saturating_sub(now_s).div_euclid(DAY_S);
    let mut found: Vec<Finding> = Vec::new();
    for end in all.ends.iter().filter(|end| days(end) < end.warn_days) {
        let (left, what, advice) = (days(end), &end.what, end.advice);
        found.push(match left {
            ..0 => Finding::fail(CHECK, format!("that of {what} has expired"), advice),
            0..DAYS_FAIL => Finding::fail(CHECK, format!("that of {what} ends in {}", counted(left, "day")), advice),
            _ => Finding::warn(CHECK, format!("that of {what} ends in {}", counted(left, "day")), advice),
        });
    }
    if found.is_empty() {
        let first = all.ends.iter().map(days).min();
        let ends_in = first.map(|days| format!(", the first ends in {}", counted(days, "day"))).unwrap_or_default();
        let unread = match all.unread {
            0 => String::new(),
            unread => format!("; {} cannot be read", counted(unread, "file")),
        };
        found.push(Finding::ok(CHECK, format!("{} known{ends_in}{unread}", counted(all.ends.len(), "certificate"))));
    }
    found
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "what a test writes is not durable")]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use time::{Duration, OffsetDateTime};

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn certificates_that_end_soon_are_named_with_their_days() {
        let all = |days: i64| {
            let mut all = Found::default();
            all.push("shop.example.org".to_owned(), days * DAY_S + 60, (DAYS_WARN, RENEW));
            all
        };
        for (days, level, words) in [
            (-1, Level::Fail, "shop.example.org has expired"),
            (2, Level::Fail, "ends in 2 days"),
            (10, Level::Warn, "ends in 10 days"),
            (30, Level::Ok, "the first ends in 30 days"),
        ] {
            let found = of_ends(&all(days), 0);
            let [finding] = found.as_slice() else { panic!("{found:?}") };
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.found.contains(words), "{finding:?}");
        }
        assert_eq!(shown("shop.example.org".to_owned(), Names::Counted), "a name");
    }

    /// Writes a file with a certificate for `name`.
    fn write(path: &Path, name: &str, days: i64) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = OffsetDateTime::now_utc() + Duration::days(days) + Duration::HOUR;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        std::fs::write(path, certificate.pem()).unwrap();
    }

    #[test]
    fn the_end_of_the_local_authority_is_near_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let text = "data_dir = \"data\"\ndomain = \"localhost\"\npreview_domain = \"localhost\"\n\
                    [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[tls]\nmode = \"self-signed\"\n";
        let file = EdgeFile::parse("edge.toml", text).unwrap();
        let path = Certificates::authority_file(&data_dir(&file, folder.path()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let of = |days: i64| {
            write(&path, "authority", days);
            let mut found = look(&file, folder.path(), None, Names::Shown);
            found.retain(|finding| finding.found.contains("the local authority"));
            found.first().map(|finding| (finding.level, finding.line()))
        };
        assert!(of(2_000).is_none());
        let (level, line) = of(40).unwrap();
        assert!(level == Level::Warn && line.contains("ends in 40 days – restart the edge"), "{line}");
        assert_eq!(of(-2).unwrap().0, Level::Fail);
    }

    /// No key exists: only the edge's own user could read a key.
    #[test]
    fn certificates_for_nodes_and_for_etcd_end_too() {
        let folder = tempfile::tempdir().unwrap();
        let text = "data_dir = \"data\"\nnode = \"edge-1\"\ndomain = \"example.app\"\npreview_domain = \"preview.example.app\"\n\
                    [listen]\nhttps = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[tls]\nmode = \"files\"\n\
                    certificate = \"site.pem\"\nkey = \"site.key\"\n[secrets]\nkey_file = \"secrets.key\"\n\
                    [catalog]\nkind = \"etcd\"\nendpoints = [\"https://127.0.0.1:1\"]\nca = \"etcd-ca.pem\"\n\
                    cert = \"etcd.pem\"\nkey = \"etcd.key\"\n[blobs]\nkind = \"s3\"\nbucket = \"files\"\n\
                    [cluster]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1:1\"\nfolder = \"nodes\"\n";
        let file = EdgeFile::parse("edge.toml", text).unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("nodes")).unwrap();
        write(&at("site.pem"), "*.example.app", 90);
        write(&at("nodes/node.pem"), "edge-1", 20);
        write(&at("nodes/ca.pem"), "ca", 2_000);
        write(&at("etcd.pem"), "edge-1", 1);
        write(&at("etcd-ca.pem"), "etcd", 40);
        let found = look(&file, folder.path(), None, Names::Shown);
        let lines: Vec<String> = found.iter().map(Finding::line).collect();
        let expected = [
            "none is for *.preview.example.app",
            "this node for other nodes ends in 20 days – renew it by `devanture-edge cluster join`",
            "this edge for etcd ends in 1 day",
            "etcd's CA ends in 40 days",
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, words) in lines.iter().zip(expected) {
            assert!(line.contains(words), "{words}: {lines:#?}");
        }
        assert_eq!(found.iter().filter(|finding| finding.level == Level::Fail).count(), 1, "{lines:#?}");

        // A second CA replaces the first.
        let (old, new) =
            (std::fs::read_to_string(at("etcd-ca.pem")).unwrap(), std::fs::read_to_string(at("nodes/ca.pem")).unwrap());
        std::fs::write(at("etcd-ca.pem"), old + &new).unwrap();
        let found = look(&file, folder.path(), None, Names::Shown);
        assert!(!found.iter().any(|finding| finding.found.contains("etcd's CA")), "{found:#?}");
    }
}
