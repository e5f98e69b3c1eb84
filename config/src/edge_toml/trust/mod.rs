//! `[[trust]]`: issuers of OpenID Connect identity tokens, and the edge tokens given in exchange.

mod owners;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::{Host, Url};

use crate::api::{BadRole, Role, RolePlace, Scope};
use crate::names::{AppName, PlaceName};
use crate::parsing::reader::Table;

pub use pattern::{BadPattern, ClaimPattern};

/// Maximum number of entries of `[[trust]]`.
pub const TRUSTS_MAX: usize = 100;
/// Maximum number of claims of an entry.
const CLAIMS_MAX: usize = 32;
/// Maximum number of patterns of a claim.
const PATTERNS_MAX: usize = 32;
/// Maximum number of environments of an entry.
const ENVIRONMENTS_MAX: usize = 32;
/// Maximum number of characters of an entry's name.
const NAME_CHARACTERS_MAX: usize = 40;
/// Maximum length of an issuer, audience and claim name, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Default lifetime of an exchanged token, and the maximum, in seconds.
const LIFETIME_S: u64 = 900;
const LIFETIME_S_MAX: u64 = 3_600;
/// Claims checked by other keys or automatically.
const OWN_CLAIMS: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Issuer whose identity tokens are exchanged for tokens of the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Name in the history and the audit log.
    pub name: String,
    /// Issuer of the identity tokens.
    pub issuer: Issuer,
    /// PEM file of authorities trusted for the issuer, beside the platform's.
    pub ca: Option<PathBuf>,
    /// Required audience.
    pub audience: String,
    /// Required claims. All claims must match.
    pub claims: BTreeMap<String, Vec<ClaimPattern>>,
    /// App of a token.
    pub app: AppName,
    /// Environments; a token is for exactly one.
    pub environments: Vec<PlaceName>,
    /// Scope of a token, named directly or by a role; never `admin`.
    pub scope: Scope,
    /// Lifetime of a token, in seconds.
    pub lifetime_s: u64,
}

/// Issuer: the text of the claim `iss`, also the base URL of the issuer's keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issuer(String);

impl Issuer {
    /// Returns the text, as repeated byte for byte in identity tokens.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL of the discovery document (OpenID Connect Discovery 1.0 §4).
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.trim_end_matches('/'))
    }

    /// Returns the URL of the keys in a discovery document: over TLS, or on this machine for an issuer on this machine.
    #[must_use]
    pub fn keys_url(&self, text: &str) -> Option<String> {
        let url: Url = text.parse().ok()?;
        let is_plain_here = url.scheme() == "http" && is_loopback(&url) && self.0.starts_with("http://");
        let is_taken =
            (url.scheme() == "https" || is_plain_here) && url.username().is_empty() && url.password().is_none();
        is_taken.then(|| url.to_string())
    }
}

/// Error for an invalid issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadIssuer(&'static str);

impl FromStr for Issuer {
    type Err = BadIssuer;

    fn from_str(text: &str) -> Result<Self, BadIssuer> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(BadIssuer("an issuer has at most 512 bytes"));
        }
        let url: Url = text.parse().map_err(|_reason| BadIssuer("an issuer is a URL, such as https://gitlab.com"))?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !is_plain || url.password().is_some() || text.contains(['?', '#']) {
            return Err(BadIssuer("an issuer has neither a user nor a query nor a fragment"));
        }
        match url.scheme() {
            "https" => Ok(Self(text.to_owned())),
            "http" if is_loopback(&url) => Ok(Self(text.to_owned())),
            _ => Err(BadIssuer("an issuer begins with https://; without TLS, keys of this machine alone are taken")),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns true if a URL leads to this machine, independent of the network.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        // RFC 6761 §6.3: `localhost` stays on the machine, independent of the resolver.
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Reads all of `[[trust]]`.
pub(super) fn trusts(root: &Table<'_, '_>) -> Vec<Trust> {
    if !root.has("trust") {
        root.know(&["trust"]);
        return Vec::new();
    }
    let tables = root.tables("trust").unwrap_or_default();
    if tables.len() > TRUSTS_MAX {
        root.mistake("trust", format!("`trust` has at most {TRUSTS_MAX} entries"), None);
    }
    let mut names = BTreeSet::new();
    let mut trusts = Vec::new();
    for table in &tables {
        let Some(trust) = trust(table) else { continue };
        if !names.insert(trust.name.clone()) {
            table.mistake("name", format!("`trust.name`: there are two with the name `{}`", trust.name), None);
        }
        trusts.push(trust);
    }
    trusts
}

fn trust(table: &Table<'_, '_>) -> Option<Trust> {
    // Every key is read before the first `?`, so all mistakes are found.
    let name = super::required(table, "name", table.string("name"), "\"github-main\"");
    if let Some(name) = name.as_ref().filter(|name| !is_name(name)) {
        let message = format!("`trust.name`: `{name}` is not 1 to {NAME_CHARACTERS_MAX} of a-z, 0-9 and `-`");
        table.mistake("name", message, None);
    }
    let issuer: Option<Issuer> =
        super::required(table, "issuer", table.parsed("issuer"), "\"https://token.actions.githubusercontent.com\"");
    let ca = table.string("ca").map(PathBuf::from);
    let audience = super::required(table, "audience", table.string("audience"), "\"https://edge.example.org:8444\"");
    if audience.as_ref().is_some_and(|text| !is_text(text)) {
        table.mistake("audience", format!("`trust.audience` has 1 to {TEXT_BYTES_MAX} bytes of plain text"), None);
    }
    let app = super::required(table, "app", table.parsed("app"), "\"shop\"");
    let (scope, is_for_previews) = rights(table);
    let environments: Option<Vec<PlaceName>> = match is_for_previews && !table.has("environments") {
        true => Some(vec![PlaceName::preview()]),
        false => table.text_or_list("environments"),
    };
    let environments = super::required(table, "environments", environments, "[\"prod\"]").unwrap_or_default();
    if table.has("environments") && !(1..=ENVIRONMENTS_MAX).contains(&environments.len()) {
        let message = format!("`trust.environments` names 1 to {ENVIRONMENTS_MAX} environments");
        table.mistake("environments", message, None);
    }
    let lifetime_s = table.integer("lifetime_s", 60..=LIFETIME_S_MAX).unwrap_or(LIFETIME_S);
    let claims = super::required(table, "claims", table.table("claims"), "{ repository = \"acme/shop\" }")
        .map(|claims| read_claims(&claims))
        .unwrap_or_default();
    table.finish();
    if let Some(issuer) = &issuer
        && !claims.is_empty()
        && let Err(sentence) = owners::check(issuer, &claims)
    {
        table.mistake("claims", format!("`trust.claims`: {sentence}"), None);
    }
    Some(Trust {
        name: name?,
        issuer: issuer?,
        ca,
        audience: audience?,
        claims,
        app: app?,
        environments,
        scope,
        lifetime_s,
    })
}

/// Returns the scope of a trust, given by `scope` or `role`, and true if the role defaults to previews.
fn rights(table: &Table<'_, '_>) -> (Scope, bool) {
    // `admin` is excluded: a CI token makes no other tokens.
    let scopes = [("read", Scope::Read), ("push", Scope::Push), ("promote", Scope::Promote), ("run", Scope::Run)];
    let scope = table.word("scope", &scopes);
    let role: Option<Role> = table.parsed("role");
    if table.has("scope") && table.has("role") {
        table.mistake("role", format!("`trust.role`: {}", BadRole::RoleOrScope), None);
    }
    let Some(role) = role else { return (scope.unwrap_or(Scope::Push), false) };
    if role.scope() == Scope::Admin {
        let message = format!("`trust.role` cannot be {role}: a job makes no tokens, and decides about no hostnames");
        table.mistake("role", message, Some("write \"viewer\", \"developer\" or \"team\""));
    }
    (role.scope(), role.place() == RolePlace::Environment)
}

fn read_claims(table: &Table<'_, '_>) -> BTreeMap<String, Vec<ClaimPattern>> {
    let mut claims = BTreeMap::new();
    for (name, texts) in table.all_texts() {
        if OWN_CLAIMS.contains(&name.as_str()) {
            table.mistake(&name, format!("`{}` is checked by itself", table.full(&name)), Some("name another claim"));
            continue;
        }
        if !is_text(&name) || !(1..=PATTERNS_MAX).contains(&texts.len()) {
            let message = format!("`{}` must have 1 to {PATTERNS_MAX} texts", table.full(&name));
            table.mistake(&name, message, None);
            continue;
        }
        let mut patterns = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => table.mistake(&name, format!("`{}`: {error}", table.full(&name)), None),
            }
        }
        claims.insert(name, patterns);
    }
    if claims.is_empty() {
        table.mistaken("`trust.claims` is empty: every identity token of the issuer would match");
    } else if claims.len() > CLAIMS_MAX {
        table.mistaken(format!("`trust.claims` names at most {CLAIMS_MAX} claims"));
    } else if claims.values().all(|patterns| patterns.iter().any(ClaimPattern::is_open)) {
        table.mistaken("`trust.claims`: one of them at least needs a text other than `*`");
    }
    claims
}

fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=NAME_CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::EdgeFile;
    use super::super::tests::LEAST;
    use super::*;

    const GITHUB: &str = r#"
[[trust]]
name = "github-main"
issuer = "https://token.actions.githubusercontent.com"
audience = "https://edge.example.org:8444"
app = "shop"
environments = ["staging", "prod"]
[trust.claims]
repository = "acme/shop"
ref = ["refs/heads/main", "refs/tags/v*"]
"#;

    fn read(text: &str) -> Result<Vec<Trust>, Vec<String>> {
        let read = EdgeFile::parse("edge.toml", &format!("{LEAST}{text}"));
        read.map(|file| file.trusts).map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_issuer_its_claims_and_what_they_give() {
        let trusts = read(GITHUB).unwrap();
        let [trust] = trusts.as_slice() else { panic!("{trusts:?}") };
        assert_eq!((trust.name.as_str(), trust.scope, trust.lifetime_s), ("github-main", Scope::Push, 900));
        assert_eq!(trust.issuer.as_str(), "https://token.actions.githubusercontent.com");
        assert_eq!(trust.environments.iter().map(PlaceName::as_str).collect::<Vec<_>>(), ["staging", "prod"]);
        assert_eq!(trust.claims.len(), 2);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn a_role_stands_for_a_scope_and_a_place() {
        let rights = |lines: &str| {
            let trust = read(&GITHUB.replace("environments = [\"staging\", \"prod\"]", lines)).unwrap().remove(0);
            let places: Vec<String> = trust.environments.iter().map(ToString::to_string).collect();
            format!("{} {}", trust.scope, places.join(" "))
        };
        for (lines, expected) in [
            ("role = \"viewer\"\nenvironments = \"prod\"", "read prod"),
            ("role = \"developer\"", "push preview"),
            ("role = \"developer\"\nenvironments = [\"staging\", \"prod\"]", "push staging prod"),
            ("role = \"team\"\nenvironments = \"prod\"", "promote prod"),
            ("role = \"maintainer\"\nenvironments = \"prod\"", "promote prod"),
            ("environments = \"prod\"", "push prod"),
        ] {
            assert_eq!(rights(lines), expected, "{lines}");
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        for (from, to, expected) in [
            ("name = \"github-main\"", "name = \"Git Hub\"", "`trust.name`: `Git Hub`"),
            ("issuer = \"https://", "issuer = \"http://", "begins with https://"),
            ("audience = \"https://edge.example.org:8444\"\n", "", "`trust.audience` is missing"),
            ("[\"staging\", \"prod\"]", "[]", "names 1 to 32 environments"),
            ("app = \"shop\"", "app = \"shop\"\nscope = \"admin\"", "cannot be \"admin\""),
            ("app = \"shop\"", "app = \"shop\"\nrole = \"owner\"", "`trust.role` cannot be owner"),
            ("app = \"shop\"", "app = \"shop\"\nrole = \"ops\"", "`trust.role` cannot be ops"),
            ("app = \"shop\"", "app = \"shop\"\nrole = \"boss\"", "`boss` is not a role"),
            ("app = \"shop\"", "app = \"shop\"\nscope = \"read\"\nrole = \"team\"", "either a scope or a role"),
            ("environments = [\"staging\", \"prod\"]", "role = \"team\"", "`trust.environments` is missing"),
            ("app = \"shop\"", "app = \"shop\"\nlifetime_s = 3601", "between 60 and 3600"),
            ("ref = [", "aud = [", "is checked by itself"),
            ("refs/tags/v*", "refs/*v/x", "a `*` stands at the end of a segment"),
            ("repository = \"acme/shop\"\n", "", "anybody has identity tokens of this issuer"),
            ("\"acme/shop\"", "\"*/shop\"", "anybody has identity tokens of this issuer"),
            ("\"acme/shop\"", "\"ac*/shop\"", "anybody has identity tokens of this issuer"),
        ] {
            let text = GITHUB.replace(from, to);
            assert_ne!(text, GITHUB, "{from}");
            let found = read(&text).unwrap_err();
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{expected}: {found:#?}");
        }
        let twice = read(&format!("{GITHUB}{GITHUB}")).unwrap_err();
        assert!(twice.iter().any(|mistake| mistake.contains("two with the name")), "{twice:?}");
        let own = GITHUB.replace("token.actions.githubusercontent.com", "issuer.example.org");
        let open = own.replace("\"acme/shop\"", "\"*\"").replace("ref = [\"refs/heads/main\", \"refs/tags/v*\"]", "");
        let open = read(&open).unwrap_err();
        assert!(open.iter().any(|mistake| mistake.contains("a text other than `*`")), "{open:?}");
        let empty = read(&own.replace("repository = \"acme/shop\"", "").replace("ref = ", "#")).unwrap_err();
        assert!(empty.iter().any(|mistake| mistake.contains("every identity token")), "{empty:?}");
    }

    #[test]
    fn keys_come_over_tls_or_from_this_machine_where_their_issuer_is() {
        let issuer = |text: &str| text.parse::<Issuer>().unwrap();
        let far = issuer("https://gitlab.example.org/");
        assert_eq!(far.discovery_url(), "https://gitlab.example.org/.well-known/openid-configuration");
        assert_eq!(far.keys_url("https://keys.example.org/a").as_deref(), Some("https://keys.example.org/a"));
        for bad in ["http://127.0.0.1/a", "http://gitlab.example.org/a", "file:///etc/passwd", "https://a:b@c/", "/a"] {
            assert_eq!(far.keys_url(bad), None, "{bad}");
        }
        let here = issuer("http://127.0.0.1:8080");
        assert!(here.keys_url("http://127.0.0.1:9/a").is_some() && here.keys_url("http://192.0.2.1/a").is_none());
    }

    #[test]
    fn an_issuer_of_this_machine_needs_no_tls() {
        for good in ["http://127.0.0.1:8080", "http://[::1]/a", "http://localhost", "https://oidc.example.org/org/1/"] {
            assert_eq!(good.parse::<Issuer>().unwrap().as_str(), good);
        }
        for bad in ["http://192.0.2.1", "http://localhost.example.org", "x", "https://a@b/", "https://a/?", "ftp://a/"]
        {
            assert!(bad.parse::<Issuer>().is_err(), "{bad}");
        }
    }
}
