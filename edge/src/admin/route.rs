//! The addresses of the API: method and path in, a typed route out.

use devanture_config::api::AccountName;
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::UpstreamUrl;
use devanture_config::{AppName, Digest, HostPattern, PlaceName};
use http::Method;
use percent_encoding::percent_decode_str;

use crate::environments::MemberAt;
use crate::ledger::Error;

/// The methods of an address that is only read.
const READ: &str = "GET, HEAD";

/// An operation that needs no token, since what it is sent says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Login,
    Logout,
    Refresh,
}

/// A member as an address of the API names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) app: AppName,
    pub(super) environment: PlaceName,
    pub(super) name: String,
    pub(super) address: UpstreamUrl,
}

impl Member {
    /// It, as the environments take it.
    pub(super) fn at(&self) -> MemberAt<'_> {
        MemberAt { app: &self.app, environment: &self.environment, name: &self.name, address: &self.address }
    }
}

/// One operation of the API.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Accounts,
    Alias { app: AppName, name: PlaceName },
    Aliases { app: AppName },
    Audit,
    Begin { app: AppName, environment: PlaceName },
    Blob { app: AppName, digest: Digest },
    ChangeSettings { app: AppName, environment: PlaceName },
    AddHostname { app: AppName, environment: PlaceName, host: HostPattern },
    Collect,
    CreateAccount,
    CreateToken,
    DeleteAccount { account: AccountName },
    DeleteAlias { app: AppName, name: PlaceName },
    DeleteApp { app: AppName },
    Deleted { app: AppName },
    DeleteEnvironment { app: AppName, environment: PlaceName },
    DeleteVersion { app: AppName, version: String },
    Deploy { app: AppName, deploy: String },
    Diff { app: AppName },
    Finish { app: AppName, deploy: String },
    History { app: AppName, environment: PlaceName },
    Instances { app: AppName, environment: PlaceName },
    Hostnames { app: AppName, environment: PlaceName },
    Login,
    Logout,
    Lock { app: AppName, environment: PlaceName },
    LockOf { app: AppName, environment: PlaceName },
    Logs { app: AppName, environment: PlaceName },
    Metrics,
    Pause { app: AppName, environment: PlaceName },
    Promote { app: AppName, environment: PlaceName },
    Refresh,
    RemoveHostname { app: AppName, environment: PlaceName, host: HostPattern },
    RemoveMember(Member),
    Restart { app: AppName, environment: PlaceName },
    Restore { app: AppName },
    Resume { app: AppName, environment: PlaceName },
    RevokeToken { id: String },
    Rollback { app: AppName, environment: PlaceName },
    Scale { app: AppName, environment: PlaceName },
    SetAlias { app: AppName, name: PlaceName },
    SetMember(Member),
    Settings { app: AppName, environment: PlaceName },
    SetPassword { account: AccountName },
    Status { app: AppName, environment: PlaceName },
    Switch { app: AppName, environment: PlaceName },
    Tokens,
    Unlock { app: AppName, environment: PlaceName },
    Undelete { app: AppName },
    Upstreams { app: AppName, environment: PlaceName },
    Withdraw { app: AppName },
    Withdrawn { app: AppName },
}

impl Route {
    /// Finds the operation.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, Error> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        // What can be got can be asked about (RFC 9110 §9.1); the connection leaves the content out.
        let method = if method == Method::HEAD { Method::GET.as_str() } else { method.as_str() };
        match (segments.as_slice(), method) {
            (["metrics"], "GET") => Ok(Self::Metrics),
            (["metrics"], _) => Err(method_not_allowed(READ)),
            (["v1", "gc"], "POST") => Ok(Self::Collect),
            (["v1", "gc"], _) => Err(method_not_allowed("POST")),
            (["v1", "accounts" | "audit" | "login" | "logout" | "refresh" | "tokens", ..], method) => {
                Self::of_people(segments.get(1..).unwrap_or_default(), method)
            }
            (["v1", "apps", app, rest @ ..], method) => Self::of_app(name(app)?, rest, method),
            _ => Err(nothing()),
        }
    }

    /// The parameters that its query may hold.
    pub(super) fn parameters(&self) -> &'static [&'static str] {
        match self {
            Self::Audit => &["app", "limit", "before"],
            Self::AddHostname { .. }
            | Self::ChangeSettings { .. }
            | Self::RemoveHostname { .. }
            | Self::RemoveMember(_)
            | Self::Restart { .. }
            | Self::Scale { .. }
            | Self::SetMember(_) => &["dry_run"],
            Self::Collect => &["dry_run", "force", "purge"],
            Self::DeleteApp { .. } | Self::DeleteEnvironment { .. } => &["dry_run", "purge"],
            Self::DeleteVersion { .. } => &["purge"],
            Self::Begin { .. } => &[
                "no_switch",
                "no_smoke",
                "watch_s",
                "force",
                "if_live",
                "alias",
                "alias_expires",
                "allow_warnings",
                "allow_refingerprint",
                "message",
                "commit",
                "branch",
                "ci",
                "url",
            ],
            Self::Blob { .. } => &["deploy"],
            Self::Aliases { .. } | Self::Hostnames { .. } | Self::Withdrawn { .. } => &["limit", "after"],
            Self::Diff { .. } => &["from", "to", "env", "limit", "after"],
            Self::History { .. } => &["limit", "before"],
            Self::Logs { .. } => &["tail", "lines", "source", "status", "path", "version", "method"],
            Self::Restore { .. } => &["path"],
            Self::Tokens => &["app", "limit", "after"],
            _ => &[],
        }
    }

    fn of_people(segments: &[&str], method: &str) -> Result<Self, Error> {
        match (segments, method) {
            (["accounts"], "GET") => Ok(Self::Accounts),
            (["accounts"], "POST") => Ok(Self::CreateAccount),
            (["tokens"], "GET") => Ok(Self::Tokens),
            (["tokens"], "POST") => Ok(Self::CreateToken),
            (["accounts"] | ["tokens"], _) => Err(method_not_allowed("GET, HEAD, POST")),
            (["accounts", account], "DELETE") => Ok(Self::DeleteAccount { account: decoded(account)? }),
            (["accounts", account, "password"], "PUT") => Ok(Self::SetPassword { account: decoded(account)? }),
            (["accounts", _, "password"], _) => Err(method_not_allowed("PUT")),
            (["audit"], "GET") => Ok(Self::Audit),
            (["audit"], _) => Err(method_not_allowed(READ)),
            (["login"], "POST") => Ok(Self::Login),
            (["logout"], "POST") => Ok(Self::Logout),
            (["refresh"], "POST") => Ok(Self::Refresh),
            (["login" | "logout" | "refresh"], _) => Err(method_not_allowed("POST")),
            (["tokens", id], "DELETE") => Ok(Self::RevokeToken { id: (*id).to_owned() }),
            (["accounts" | "tokens", _], _) => Err(method_not_allowed("DELETE")),
            _ => Err(nothing()),
        }
    }

    /// Whether this is how somebody gets a token who has none.
    pub(super) fn door(&self) -> Option<Door> {
        match self {
            Self::Login => Some(Door::Login),
            Self::Logout => Some(Door::Logout),
            Self::Refresh => Some(Door::Refresh),
            _ => None,
        }
    }

    fn of_app(app: AppName, rest: &[&str], method: &str) -> Result<Self, Error> {
        match (rest, method) {
            ([], "DELETE") => Ok(Self::DeleteApp { app }),
            ([], _) => Err(method_not_allowed("DELETE")),
            (["aliases"], "GET") => Ok(Self::Aliases { app }),
            (["aliases"], _) => Err(method_not_allowed(READ)),
            (["aliases", alias], "GET") => Ok(Self::Alias { app, name: name(alias)? }),
            (["aliases", alias], "PUT") => Ok(Self::SetAlias { app, name: name(alias)? }),
            (["aliases", alias], "DELETE") => Ok(Self::DeleteAlias { app, name: name(alias)? }),
            (["aliases", _], _) => Err(method_not_allowed("GET, HEAD, PUT, DELETE")),
            (["blobs", digest], "PUT") => Ok(Self::Blob { app, digest: name(digest)? }),
            (["blobs", _], _) => Err(method_not_allowed("PUT")),
            (["deleted"], "GET") => Ok(Self::Deleted { app }),
            (["deleted"], _) => Err(method_not_allowed(READ)),
            (["deploys", deploy], "GET") => Ok(Self::Deploy { app, deploy: (*deploy).to_owned() }),
            (["deploys", _], _) => Err(method_not_allowed(READ)),
            (["deploys", deploy, "finish"], "POST") => Ok(Self::Finish { app, deploy: (*deploy).to_owned() }),
            (["deploys", _, "finish"], _) => Err(method_not_allowed("POST")),
            (["diff"], "GET") => Ok(Self::Diff { app }),
            (["diff"], _) => Err(method_not_allowed(READ)),
            (["undelete"], "POST") => Ok(Self::Undelete { app }),
            (["undelete"], _) => Err(method_not_allowed("POST")),
            (["versions", version], "DELETE") => Ok(Self::DeleteVersion { app, version: (*version).to_owned() }),
            (["versions", _], _) => Err(method_not_allowed("DELETE")),
            (["withdrawn"], "GET") => Ok(Self::Withdrawn { app }),
            (["withdrawn"], "POST") => Ok(Self::Withdraw { app }),
            (["withdrawn"], "DELETE") => Ok(Self::Restore { app }),
            (["withdrawn"], _) => Err(method_not_allowed("GET, HEAD, POST, DELETE")),
            (["environments", environment], method) => match method {
                "GET" => Ok(Self::Status { app, environment: name(environment)? }),
                "DELETE" => Ok(Self::DeleteEnvironment { app, environment: name(environment)? }),
                _ => Err(method_not_allowed("GET, HEAD, DELETE")),
            },
            (["environments", environment, "lock"], method) => {
                let environment = name(environment)?;
                match method {
                    "GET" => Ok(Self::LockOf { app, environment }),
                    "PUT" => Ok(Self::Lock { app, environment }),
                    "DELETE" => Ok(Self::Unlock { app, environment }),
                    _ => Err(method_not_allowed("GET, HEAD, PUT, DELETE")),
                }
            }
            (["environments", environment, "settings"], method) => {
                let environment = name(environment)?;
                match method {
                    "GET" => Ok(Self::Settings { app, environment }),
                    "PATCH" => Ok(Self::ChangeSettings { app, environment }),
                    _ => Err(method_not_allowed("GET, HEAD, PATCH")),
                }
            }
            (["environments", environment, "instances"], method) => {
                let environment = name(environment)?;
                match method {
                    "GET" => Ok(Self::Instances { app, environment }),
                    "PATCH" => Ok(Self::Scale { app, environment }),
                    _ => Err(method_not_allowed("GET, HEAD, PATCH")),
                }
            }
            (["environments", environment, "instances", "restart"], "POST") => {
                Ok(Self::Restart { app, environment: name(environment)? })
            }
            (["environments", _, "instances", "restart"], _) => Err(method_not_allowed("POST")),
            (["environments", environment, operation], method) => {
                Self::of_environment(app, name(environment)?, operation, method)
            }
            (["environments", environment, "hostnames", host], method) => {
                let (environment, host) = (name(environment)?, decoded(host)?);
                match method {
                    "PUT" => Ok(Self::AddHostname { app, environment, host }),
                    "DELETE" => Ok(Self::RemoveHostname { app, environment, host }),
                    _ => Err(method_not_allowed("PUT, DELETE")),
                }
            }
            (["environments", environment, "upstreams", upstream, "members", address], "PUT" | "DELETE") => {
                let (environment, upstream) = (name(environment)?, decoded(upstream)?);
                let member = Member { app, environment, name: upstream, address: decoded(address)? };
                Ok(if method == "PUT" { Self::SetMember(member) } else { Self::RemoveMember(member) })
            }
            (["environments", _, "upstreams", _, "members", _], _) => Err(method_not_allowed("PUT, DELETE")),
            _ => Err(nothing()),
        }
    }

    fn of_environment(app: AppName, environment: PlaceName, operation: &str, method: &str) -> Result<Self, Error> {
        let (route, allowed) = match operation {
            "deploys" => (Self::Begin { app, environment }, "POST"),
            "history" => (Self::History { app, environment }, "GET"),
            "hostnames" => (Self::Hostnames { app, environment }, "GET"),
            "logs" => (Self::Logs { app, environment }, "GET"),
            "pause" => (Self::Pause { app, environment }, "POST"),
            "promote" => (Self::Promote { app, environment }, "POST"),
            "resume" => (Self::Resume { app, environment }, "POST"),
            "rollback" => (Self::Rollback { app, environment }, "POST"),
            "switch" => (Self::Switch { app, environment }, "POST"),
            "upstreams" => (Self::Upstreams { app, environment }, "GET"),
            _ => return Err(nothing()),
        };
        match method {
            method if method == allowed => Ok(route),
            _ if allowed == "GET" => Err(method_not_allowed(READ)),
            _ => Err(method_not_allowed(allowed)),
        }
    }
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Problem::new(Code::BadRequest, format!("{error}.")).into())
}

/// A name that may come in its encoded form, as one in Unicode or a wildcard does.
fn decoded<T: std::str::FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    name(&percent_decode_str(text).decode_utf8_lossy())
}

/// The problem of an address that is none.
pub(super) fn nothing() -> Error {
    Problem::new(Code::NotFound, "The API has no such address.").hint("/v1/openapi.yaml describes it").into()
}

/// The problem of a method that an address does not take; its hint names those that it does.
pub(super) fn method_not_allowed(allowed: &'static str) -> Error {
    Problem::new(Code::MethodNotAllowed, "This address does not take that method.")
        .hint(format!("use {allowed}"))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_description() {
        let parse = |method: &str, path: &str| Route::parse(&method.parse().unwrap(), path);
        let code = |method: &str, path: &str| parse(method, path).unwrap_err().0.code;
        let (app, environment) = ("shop".parse().unwrap(), PlaceName::prod());
        assert_eq!(
            parse("POST", "/v1/apps/shop/environments/prod/switch").unwrap(),
            Route::Switch { app, environment }
        );
        assert!(parse("GET", "/metrics").is_ok());
        assert_eq!(code("GET", "/v1/apps/shop/environments/prod/switch"), Code::MethodNotAllowed);
        assert_eq!(code("POST", "/v1/apps/Shop/environments/prod/switch"), Code::BadRequest);
        assert_eq!(code("PUT", "/v1/apps/shop/blobs/xyz"), Code::BadRequest);
        let member = "/v1/apps/shop/environments/prod/upstreams/api/members/xyz";
        assert_eq!((code("GET", member), code("PUT", member)), (Code::MethodNotAllowed, Code::BadRequest));
        for path in [
            "/",
            "/v1",
            "/v2/apps",
            "/v1/apps/shop/x",
            "/v1/apps/shop/environments/prod/x",
            "/v1/apps/shop/environments/prod/switch/",
        ] {
            assert_eq!(code("POST", path), Code::NotFound, "{path}");
        }
    }
}
