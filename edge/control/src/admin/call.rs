//! A call of an operation: actor, path parameters, request.

use std::fmt;
use std::str::FromStr;

use devanture_config::api::{AccountName, Scope, SnapshotName, WebhookName};
use devanture_config::problem::{Code, Problem};
use devanture_config::site_toml::{ScheduleName, UpstreamUrl};
use devanture_config::{AppName, Digest, HostPattern, PlaceName};
use http::{Request, Response, Uri};
use percent_encoding::percent_decode_str;

use super::Body;
use super::body::RequestBody;
use crate::ledger::{Actor, Error};

/// Outcome of an operation.
pub(super) type Answer = Result<Response<Body>, Error>;

/// Call of an operation by an authorized actor.
pub(super) struct Call {
    pub(super) actor: Actor,
    pub(super) path: PathParameters,
    pub(super) request: Request<RequestBody>,
}

impl Call {
    pub(super) fn uri(&self) -> &Uri {
        self.request.uri()
    }
}

/// Right required by an operation, checked before the handler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// Any valid token; the operation checks access as the text describes.
    Checked(&'static str),
    /// Scope for every app.
    EveryApp(Scope),
    /// Scope in the app, or in one of its environments.
    App(Scope),
    /// Scope in every environment of the app.
    EveryEnvironment(Scope),
    /// Scope in the environment.
    Environment(Scope),
    /// Scope for aliases of the given name.
    Alias(Scope),
}

impl Right {
    /// # Errors
    /// `forbidden`; `not_found` for an app outside the token; `bad_request` for an invalid name.
    pub(super) fn check(self, actor: &Actor, path: &PathParameters) -> Result<(), Error> {
        match self {
            Self::Checked(_) => Ok(()),
            Self::EveryApp(scope) => actor.may_in_every_app(scope),
            Self::App(scope) => actor.may(scope, &path.app()?, None),
            Self::EveryEnvironment(scope) => actor.may_everywhere(scope, &path.app()?),
            Self::Environment(scope) => actor.may(scope, &path.app()?, Some(&path.environment()?)),
            Self::Alias(scope) => actor.may_alias(scope, &path.app()?, &path.alias()?),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checked(text) => formatter.write_str(text),
            Self::EveryApp(scope) => write!(formatter, "{scope}, every app"),
            Self::App(scope) | Self::Environment(scope) | Self::Alias(scope) => write!(formatter, "{scope}"),
            Self::EveryEnvironment(scope) => write!(formatter, "{scope}, every environment"),
        }
    }
}

/// Path parameters, by their names in the API description.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PathParameters(Vec<(&'static str, String)>);

impl PathParameters {
    /// Returns the parameters of a `path` that matches `template`, for example `/v1/apps/{app}`.
    pub(super) fn of(template: &'static str, path: &str) -> Option<Self> {
        let mut values = Vec::new();
        let mut segments = path.trim_start_matches('/').split('/');
        for expected in template.trim_start_matches('/').split('/') {
            let segment = segments.next()?;
            match expected.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                Some(name) => values.push((name, segment.to_owned())),
                None if expected == segment => {}
                None => return None,
            }
        }
        segments.next().is_none().then_some(Self(values))
    }

    pub(super) fn app(&self) -> Result<AppName, Error> {
        parsed(self.text("app"))
    }

    pub(super) fn environment(&self) -> Result<PlaceName, Error> {
        parsed(self.text("env"))
    }

    /// Returns the app and the environment.
    pub(super) fn place(&self) -> Result<(AppName, PlaceName), Error> {
        Ok((self.app()?, self.environment()?))
    }

    pub(super) fn alias(&self) -> Result<PlaceName, Error> {
        parsed(self.text("name"))
    }

    pub(super) fn digest(&self) -> Result<Digest, Error> {
        parsed(self.text("digest"))
    }

    pub(super) fn snapshot(&self) -> Result<SnapshotName, Error> {
        parsed(self.text("snapshot"))
    }

    /// Returns the deploy id as sent.
    pub(super) fn deploy(&self) -> &str {
        self.text("deploy")
    }

    /// Returns the id of a version or a token as sent.
    pub(super) fn id(&self) -> &str {
        self.text("id")
    }

    pub(super) fn account(&self) -> Result<AccountName, Error> {
        decoded(self.text("account"))
    }

    pub(super) fn host(&self) -> Result<HostPattern, Error> {
        decoded(self.text("host"))
    }

    pub(super) fn schedule(&self) -> Result<ScheduleName, Error> {
        parsed(self.text("name"))
    }

    pub(super) fn webhook(&self) -> Result<WebhookName, Error> {
        parsed(self.text("name"))
    }

    /// Returns the name of an upstream.
    pub(super) fn upstream(&self) -> Result<String, Error> {
        decoded(self.text("name"))
    }

    pub(super) fn address(&self) -> Result<UpstreamUrl, Error> {
        decoded(self.text("address"))
    }

    /// Returns a parameter, empty if absent; every type parsed from parameters refuses the empty text.
    fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Parses a name of the path or the query.
///
/// # Errors
/// `bad_request`.
pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error: T::Err| Problem::new(Code::BadRequest, format!("{error}.")).into())
}

/// Parses a name after percent-decoding, for names in Unicode and wildcards.
fn decoded<T: FromStr>(text: &str) -> Result<T, Error>
where
    T::Err: fmt::Display,
{
    parsed(&percent_decode_str(text).decode_utf8_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_the_form_of_its_template_segment_by_segment() {
        let template = "/v1/apps/{app}/environments/{env}/switch";
        let path = PathParameters::of(template, "/v1/apps/shop/environments/prod/switch").unwrap();
        assert_eq!(path.place().unwrap(), ("shop".parse().unwrap(), PlaceName::prod()));
        for other in ["/", "/v1", "/v1/apps/shop/environments/prod", "/v1/apps/shop/environments/prod/switch/"] {
            assert_eq!(PathParameters::of(template, other), None, "{other}");
        }
        assert!(PathParameters::of(template, "/v1/apps/Shop/environments/prod/switch").unwrap().app().is_err());
    }

    #[test]
    fn hostnames_and_addresses_may_be_percent_encoded() {
        let member = "/v1/apps/{app}/environments/{env}/upstreams/{name}/members/{address}";
        let path = PathParameters::of(
            member,
            "/v1/apps/shop/environments/prod/upstreams/%61pi/members/http:%2F%2F203.0.113.7:3000",
        );
        let path = path.unwrap();
        assert_eq!(path.upstream().unwrap(), "api");
        assert_eq!(path.address().unwrap(), "http://203.0.113.7:3000".parse().unwrap());
    }
}
