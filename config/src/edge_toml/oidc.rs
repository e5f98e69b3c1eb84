//! `[oidc]`: OpenID Connect provider for logins of people, and roles of the provider's groups.

use std::path::PathBuf;

use crate::api::{BadRole, Role, Scope};
use crate::names::{AppName, PlaceName};
use crate::parsing::reader::Table;

use super::trust::Issuer;

/// Maximum number of entries of `[[oidc.groups]]`.
pub const OIDC_GROUPS_MAX: usize = 500;
/// Maximum number of apps, environments and scopes of a list.
const LIST_MAX: usize = 100;
/// Maximum length of a client id, group, scope and claim name, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Default lifetime of a login, and its bounds, in seconds.
const LIFETIME_S: u64 = 28_800;
const LIFETIME_S_MIN: u64 = 300;
const LIFETIME_S_MAX: u64 = 86_400;

/// OpenID Connect provider for the edge's users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Provider: the claim `iss` of the identity tokens.
    pub issuer: Issuer,
    /// PEM file of authorities trusted for the provider, beside the platform's.
    pub ca: Option<PathBuf>,
    /// Client of the command line, and audience of the identity tokens.
    pub client_id: String,
    /// File with the client's secret, used by the edge alone; if absent, the client is public.
    pub client_secret_file: Option<PathBuf>,
    /// Scopes of a login, always including `openid`.
    pub scopes: Vec<String>,
    /// Claim with the groups of a person.
    pub groups_claim: String,
    /// Lifetime of a login, in seconds.
    pub lifetime_s: u64,
    /// Roles of groups.
    pub groups: Vec<OidcGroup>,
}

/// Role of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcGroup {
    /// Group, exactly as in the claim.
    pub group: String,
    /// The role.
    pub role: Role,
    /// Apps of the role; empty for a role of every app.
    pub apps: Vec<AppName>,
    /// Environments of the role; empty for all environments of the app.
    pub environments: Vec<PlaceName>,
}

/// Rights given by a person's groups in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OidcGrant<'o> {
    /// Group behind the rights.
    pub group: &'o OidcGroup,
    /// Environment of the rights; all environments if absent.
    pub environment: Option<PlaceName>,
    /// The scope.
    pub scope: Scope,
}

impl Oidc {
    /// Returns the rights of these groups in an app, or in every app if `app` is `None`: the highest scope; among equal
    /// scopes a grant for every environment, then the first of the file. Rights never exceed the request: with an
    /// environment, the grant covers the environment alone.
    #[must_use]
    pub fn grant(
        &self,
        groups: &[&str],
        app: Option<&AppName>,
        environment: Option<&PlaceName>,
    ) -> Option<OidcGrant<'_>> {
        let mut best: Option<OidcGrant<'_>> = None;
        for group in self.groups.iter().filter(|group| groups.contains(&group.group.as_str())) {
            let is_of = group.apps.is_empty() || app.is_some_and(|app| group.apps.contains(app));
            if !is_of {
                continue;
            }
            let own = &group.environments;
            let place = match environment {
                Some(wanted) if own.is_empty() || own.contains(wanted) => Some(wanted.clone()),
                Some(_) => continue,
                None => own.first().cloned(),
            };
            let grant = OidcGrant { group, environment: place, scope: group.role.scope() };
            let is_more = |best: &OidcGrant<'_>| {
                let is_wider = grant.environment.is_none() && best.environment.is_some();
                if grant.scope == best.scope { is_wider } else { grant.scope.includes(best.scope) }
            };
            if best.as_ref().is_none_or(is_more) {
                best = Some(grant);
            }
        }
        best
    }
}

/// Reads `[oidc]`.
pub(super) fn oidc(root: &Table<'_, '_>) -> Option<Oidc> {
    let table = root.table("oidc")?;
    // Every key is read before the first `?`, so all mistakes are found.
    let issuer: Option<Issuer> =
        super::required(&table, "issuer", table.parsed("issuer"), "\"https://login.example.org\"");
    let ca = table.string("ca").map(PathBuf::from);
    let client_id = super::required(&table, "client_id", table.string("client_id"), "\"devanture\"");
    if client_id.as_ref().is_some_and(|text| !is_text(text)) {
        table.mistake("client_id", "`oidc.client_id` has 1 to 512 bytes of plain text without spaces", None);
    }
    let client_secret_file = table.string("client_secret_file").map(PathBuf::from);
    let scopes: Vec<String> =
        table.list("scopes").unwrap_or_else(|| ["openid", "profile", "email"].map(str::to_owned).to_vec());
    if scopes.len() > LIST_MAX || !scopes.iter().all(|scope| is_text(scope)) {
        table.mistake("scopes", format!("`oidc.scopes` has at most {LIST_MAX} texts without spaces"), None);
    } else if !scopes.iter().any(|scope| scope == "openid") {
        table.mistake("scopes", "`oidc.scopes` lacks \"openid\", without which there is no identity token", None);
    }
    let groups_claim = table.string("groups_claim").unwrap_or_else(|| "groups".to_owned());
    if !is_text(&groups_claim) {
        table.mistake("groups_claim", "`oidc.groups_claim` has 1 to 512 bytes of plain text without spaces", None);
    }
    let lifetime_s = table.integer("lifetime_s", LIFETIME_S_MIN..=LIFETIME_S_MAX).unwrap_or(LIFETIME_S);
    let tables = super::required(&table, "groups", table.tables("groups"), "…, as tables [[oidc.groups]]");
    let tables = tables.unwrap_or_default();
    if tables.len() > OIDC_GROUPS_MAX {
        table.mistake("groups", format!("`oidc.groups` has at most {OIDC_GROUPS_MAX} entries"), None);
    }
    let groups = tables.iter().filter_map(group).collect();
    table.finish();
    let (issuer, client_id) = (issuer?, client_id?);
    Some(Oidc { issuer, ca, client_id, client_secret_file, scopes, groups_claim, lifetime_s, groups })
}

fn group(table: &Table<'_, '_>) -> Option<OidcGroup> {
    let group = super::required(table, "group", table.string("group"), "\"web-team\"");
    if group.as_ref().is_some_and(|group| group.is_empty() || group.len() > TEXT_BYTES_MAX) {
        table.mistake("group", format!("`oidc.groups.group` has 1 to {TEXT_BYTES_MAX} bytes"), None);
    }
    let role: Option<Role> = super::required(table, "role", table.parsed("role"), "\"developer\"");
    let apps: Vec<AppName> = table.text_or_list("apps").unwrap_or_default();
    let mut environments: Vec<PlaceName> = table.text_or_list("environments").unwrap_or_default();
    for (key, count) in [("apps", apps.len()), ("environments", environments.len())] {
        if count > LIST_MAX {
            table.mistake(key, format!("`oidc.groups.{key}` has at most {LIST_MAX} names"), None);
        }
    }
    table.finish();
    let role = role?;
    match role.rights(apps.first().cloned(), environments.first().cloned()) {
        // Default environment of the role, if the entry names none.
        Ok(rights) if environments.is_empty() => environments.extend(rights.environment),
        Ok(_) => {}
        Err(error @ BadRole::NeedsApp(_)) => {
            table.mistake("apps", format!("`oidc.groups.apps`: {error}"), Some("write apps = [\"shop\"]"));
        }
        Err(error) => table.mistake("role", format!("`oidc.groups.role`: {error}"), None),
    }
    Some(OidcGroup { group: group?, role, apps, environments })
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

#[cfg(test)]
mod tests {
    use super::super::EdgeFile;
    use super::super::tests::LEAST;
    use super::*;

    const FILE: &str = r#"
[oidc]
issuer = "https://login.example.org"
client_id = "devanture"
[[oidc.groups]]
group = "everybody"
role = "viewer"
apps = ["shop", "blog"]
[[oidc.groups]]
group = "web"
role = "developer"
apps = "shop"
[[oidc.groups]]
group = "release"
role = "maintainer"
apps = "shop"
environments = ["staging", "prod"]
[[oidc.groups]]
group = "platform"
role = "ops"
"#;

    fn read(text: &str) -> Result<Oidc, Vec<String>> {
        let read = EdgeFile::parse("edge.toml", &format!("{LEAST}{text}"));
        read.map(|file| file.oidc.unwrap()).map_err(|mistakes| mistakes.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn groups_give_the_highest_scope_of_the_place_and_no_more() {
        let oidc = read(FILE).unwrap();
        assert_eq!((oidc.groups_claim.as_str(), oidc.lifetime_s), ("groups", 28_800));
        let granted = |groups: &[&str], app: Option<&str>, environment: Option<&str>| {
            let (app, environment) = (app.map(|a| a.parse().unwrap()), environment.map(|e| e.parse().unwrap()));
            oidc.grant(groups, app.as_ref(), environment.as_ref()).map(|grant| {
                format!("{} {}", grant.scope, grant.environment.map_or_else(|| "all".to_owned(), |e| e.to_string()))
            })
        };
        for (groups, app, environment, expected) in [
            (&["everybody"][..], Some("shop"), None, Some("read all")),
            (&["everybody"], Some("shop"), Some("prod"), Some("read prod")),
            (&["everybody", "web"], Some("shop"), None, Some("push preview")),
            (&["everybody", "web"], Some("shop"), Some("prod"), Some("read prod")),
            (&["web"], Some("shop"), Some("prod"), None),
            (&["web", "release"], Some("shop"), None, Some("promote staging")),
            (&["release"], Some("shop"), Some("prod"), Some("promote prod")),
            (&["release"], Some("blog"), None, None),
            (&["everybody", "release"], None, None, None),
            (&["platform", "web"], None, None, Some("admin all")),
            (&["platform"], Some("blog"), Some("prod"), Some("admin prod")),
            (&["Web", "web ", ""], Some("shop"), None, None),
            (&[], Some("shop"), None, None),
        ] {
            assert_eq!(granted(groups, app, environment).as_deref(), expected, "{groups:?} {app:?} {environment:?}");
        }
    }

    #[test]
    fn a_client_with_a_secret_names_its_file() {
        assert_eq!(read(FILE).unwrap().client_secret_file, None);
        let with = FILE.replacen("[[oidc.groups]]", "client_secret_file = \"oidc.secret\"\n[[oidc.groups]]", 1);
        assert_eq!(read(&with).unwrap().client_secret_file, Some(PathBuf::from("oidc.secret")));
    }

    #[test]
    fn every_mistake_is_reported() {
        for (from, to, expected) in [
            ("https://login", "http://login", "begins with https://"),
            ("client_id = \"devanture\"\n", "", "`oidc.client_id` is missing"),
            ("client_id = \"devanture\"", "client_id = \"a b\"", "`oidc.client_id` has 1 to 512"),
            ("client_id = \"devanture\"", "client_id = \"a\"\nscopes = [\"email\"]", "lacks \"openid\""),
            ("client_id = \"devanture\"", "client_id = \"a\"\nlifetime_s = 86401", "between 300 and 86400"),
            ("client_id = \"devanture\"", "client_id = \"a\"\nclient_secret = \"b\"", "client_secret"),
            ("role = \"viewer\"", "role = \"boss\"", "`boss` is not a role"),
            ("apps = [\"shop\", \"blog\"]\n", "", "the role viewer is for one app"),
            ("role = \"ops\"", "role = \"ops\"\napps = \"shop\"", "the role ops is for every app"),
        ] {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE, "{from}");
            let found = read(&text).unwrap_err();
            assert!(found.iter().any(|mistake| mistake.contains(expected)), "{expected}: {found:#?}");
        }
    }
}
