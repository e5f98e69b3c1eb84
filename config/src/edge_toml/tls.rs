//! `[tls]` and `[acme]`: sources of certificates.

use std::path::PathBuf;

use super::required;
use crate::parsing::reader::Table;

/// Default ACME directory: Let's Encrypt.
pub const ACME_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Maximum number of contacts of an account.
const CONTACTS_MAX: usize = 10;

/// Certificate chain and key, as PEM files; paths are relative to `edge.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Proof to an authority of the edge's control over a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeKind {
    /// `http-01` (RFC 8555 §8.3): a file over plain HTTP, on port 80 of the name.
    Http,
    /// `tls-alpn-01` (RFC 8737): a handshake, on port 443 of the name.
    TlsAlpn,
}

/// Operator's account at an authority that requires external account binding (RFC 8555 §7.3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// Id of the key.
    pub key_id: String,
    /// File of the key, in base64url; relative to `edge.toml`.
    pub key_file: PathBuf,
}

/// Authority for orders of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// PEM file of further trusted authorities for the directory; relative to `edge.toml`.
    pub ca: Option<PathBuf>,
    /// Challenges by preference; at least one. `http-01` is dropped without a listener for plain HTTP.
    pub challenges: Vec<ChallengeKind>,
    /// Contacts for the authority, for example `mailto:ops@example.org`.
    pub contact: Vec<String>,
    /// Directory: an `https` URL.
    pub directory: String,
    /// Account at the authority to bind the edge's account to.
    pub external_account: Option<ExternalAccount>,
}

/// Source of certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Files for the names covered by the files, and an authority for all other names.
    Acme {
        /// Authority.
        authority: Acme,
        /// Files, possibly empty.
        files: Vec<CertificateFiles>,
    },
    /// Files, chosen by SNI; the first file if no name matches.
    Files(Vec<CertificateFiles>),
    /// Local authority, made by the edge once.
    SelfSigned,
}

/// Accepted versions of TLS, after the profiles of Mozilla's "Server Side TLS".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsProfile {
    /// TLS 1.2 with forward secrecy and authenticated encryption, and TLS 1.3.
    #[default]
    Intermediate,
    /// TLS 1.3 only.
    Modern,
}

const PROFILES: &[(&str, TlsProfile)] = &[("intermediate", TlsProfile::Intermediate), ("modern", TlsProfile::Modern)];

/// Reads `tls.profile`.
pub(super) fn profile(table: &Table<'_, '_>) -> TlsProfile {
    table.word("profile", PROFILES).unwrap_or_default()
}

#[derive(Clone, Copy)]
enum TlsMode {
    Acme,
    Files,
    SelfSigned,
}

/// Reads `[tls]` and `[acme]`.
pub(super) fn tls(root: &Table<'_, '_>, table: &Table<'_, '_>) -> Option<Tls> {
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
        // A single key was named, already reported as a mistake.
        TlsMode::Files if files.is_empty() && (table.has("certificate") || table.has("key")) => None,
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
        (Some(_), None) => {
            table.mistake("certificate", "`tls.certificate` needs `tls.key` beside it", Some("add key = \"…\""));
        }
        (None, Some(_)) => {
            table.mistake("key", "`tls.key` needs `tls.certificate` beside it", Some("add certificate = \"…\""));
        }
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
