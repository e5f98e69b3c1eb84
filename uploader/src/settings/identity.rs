//! Identity tokens of CI systems: their sources, in the absence of a token and a login.
//!
//! They come only from the environment of the process: a file of the project could name an address that collects them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use url::Url;

use super::{Name, Setting, Settings, Source, Token, is_loopback};
use crate::output::exit::Failure;

/// The variable of an identity token for the edge.
pub(crate) const VARIABLE: &str = "DEVANTURE_ID_TOKEN";
/// The variable of the audience for which identity tokens are requested.
const AUDIENCE_VARIABLE: &str = "DEVANTURE_AUDIENCE";
/// Variables with an identity token: the edge's own, and that of CircleCI.
const VARIABLES: [&str; 2] = [VARIABLE, "CIRCLE_OIDC_TOKEN_V2"];
/// Variables of GitHub Actions: the address that makes an identity token, and its credential.
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";
/// Variables of Buildkite: its mark, and the permission of a job to use the agent.
const BUILDKITE: &str = "BUILDKITE";
const BUILDKITE_TOKEN: &str = "BUILDKITE_AGENT_ACCESS_TOKEN";
/// Upper bound of bytes of an identity token, the same as that of an edge.
pub(crate) const BYTES_MAX: usize = 65_536;

/// The source of an identity token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// GitHub Actions, which makes a token for each request.
    GitHub { url: Url, token: Token },
    /// The agent of Buildkite, which requests a token each time.
    Buildkite {
        /// The variable `PATH`, with the folder of the agent.
        path: String,
    },
    /// A variable with a token.
    Variable(&'static str, Token),
}

impl Origin {
    /// Returns the source as a person knows it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::GitHub { .. } => "GitHub Actions",
            Self::Buildkite { .. } => "Buildkite",
            Self::Variable(name, _) => name,
        }
    }
}

/// An identity token, and the scope of its exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdentityAccess {
    /// The source.
    pub(crate) origin: Origin,
    /// The requested audience; by default the address of the edge.
    pub(crate) audience: Option<String>,
    /// The app of the token.
    pub(crate) app: AppName,
    /// The environment: from the settings, or that of the command.
    pub(crate) environment: Option<PlaceName>,
    /// Set if the environment comes from the settings.
    pub(crate) is_said: bool,
    /// The folder for the result of the exchange, if any.
    pub(crate) state_folder: Option<PathBuf>,
}

/// The variables of identity tokens in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// A token, by the name of its variable.
    token: Option<(&'static str, String)>,
    /// The address of GitHub Actions, and its credential.
    github: Option<(String, String)>,
    /// The `PATH` of a Buildkite job that may use its agent.
    buildkite: Option<String>,
    audience: Option<String>,
}

impl Found {
    /// Reads the environment of the process.
    pub(super) fn of(environment: &BTreeMap<String, String>) -> Self {
        // CI systems often set an unset variable to an empty text.
        let text = |name: &str| environment.get(name).filter(|text| !text.trim().is_empty()).cloned();
        Self {
            token: VARIABLES.into_iter().find_map(|name| Some((name, text(name)?))),
            github: text(GITHUB_URL).zip(text(GITHUB_TOKEN)),
            buildkite: text(BUILDKITE)
                .filter(|is_set| is_set == "true")
                .and_then(|_job| text(BUILDKITE_TOKEN))
                .map(|_token| text("PATH").unwrap_or_default()),
            audience: text(AUDIENCE_VARIABLE),
        }
    }
}

impl Settings {
    /// Returns the identity token of the CI system, if any.
    ///
    /// # Errors
    /// `untrusted_source` if a file of the project names the address or the CA for the token; `usage` if the token
    /// cannot be read, or the app is not set.
    pub(super) fn identity(
        &self,
        others: &[(Name, Option<&Setting<String>>)],
    ) -> Result<Option<IdentityAccess>, Failure> {
        let Found { token, github, buildkite, audience } = &self.identity;
        let origin = match (token, github) {
            (Some((name, text)), _) => Origin::Variable(name, identity_token(text, name)?),
            (None, Some((url, token))) => {
                Origin::GitHub { url: request_url(url)?, token: super::read_secret(token, GITHUB_TOKEN, "token")? }
            }
            (None, None) => match buildkite {
                Some(path) => Origin::Buildkite { path: path.clone() },
                None => return Ok(None),
            },
        };
        super::check_goes_together(self, "identity token", origin.name(), others)?;
        let environment = self.environment()?;
        let is_said = environment.source != Source::Default;
        Ok(Some(IdentityAccess {
            origin,
            audience: audience.clone(),
            app: self.app()?.value,
            environment: if is_said { Some(environment.value) } else { self.usual_place.clone() },
            is_said,
            state_folder: self.state_folder.clone(),
        }))
    }
}

fn identity_token(text: &str, name: &str) -> Result<Token, Failure> {
    let token = super::read_secret(text, name, "identity token")?;
    if token.secret().len() > BYTES_MAX {
        return Err(Failure::new(Code::Usage, format!("{name}: the identity token has more than {BYTES_MAX} bytes.")));
    }
    Ok(token)
}

/// Parses the address of GitHub Actions, which receives the credential.
fn request_url(text: &str) -> Result<Url, Failure> {
    let url = text.parse::<Url>().ok().filter(|url| url.scheme() == "https" || is_loopback(url));
    url.ok_or_else(|| Failure::new(Code::Usage, format!("{GITHUB_URL} is no address over https.")))
}

#[cfg(test)]
mod tests {
    use devanture_config::site_toml::SiteFile;

    use super::super::{Credential, Sources};
    use super::*;

    const GITHUB: [(&str, &str); 2] = [(GITHUB_URL, "https://token.example/?a=b"), (GITHUB_TOKEN, "opens")];
    const URL: (&str, &str) = ("DEVANTURE_URL", "https://edge.example.org");
    const APP: (&str, &str) = ("DEVANTURE_APP", "shop");

    fn credential(environment: &[(&str, &str)], dotenv: &[(&str, &str)]) -> Result<Credential, Failure> {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let settings = Settings::gather(&Sources {
            flags: &BTreeMap::new(),
            environment: &map(environment),
            app_dotenv: &BTreeMap::new(),
            dotenv: &map(dotenv),
            site: &SiteFile::parse("devanture.toml", "").unwrap(),
            site_file_name: "devanture.toml",
            has_site_file: true,
        });
        settings.edge_access().map(|access| access.credential)
    }

    fn identity(environment: &[(&str, &str)]) -> IdentityAccess {
        match credential(environment, &[]).unwrap() {
            Credential::Identity(identity) => *identity,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_identity_token_is_found_where_there_is_no_other_credential() {
        let [url, token] = GITHUB;
        let found = identity(&[URL, APP, url, token]);
        assert_eq!((found.origin.name(), found.app.as_str(), found.environment), ("GitHub Actions", "shop", None));
        let found = identity(&[URL, APP, url, token, (VARIABLE, "a.b.c"), ("DEVANTURE_ENV", "staging")]);
        assert_eq!((found.origin.name(), found.environment.unwrap().as_str()), (VARIABLE, "staging"));
        assert_eq!(identity(&[URL, APP, ("CIRCLE_OIDC_TOKEN_V2", "a.b.c")]).origin.name(), "CIRCLE_OIDC_TOKEN_V2");
        let agent = [(BUILDKITE, "true"), (BUILDKITE_TOKEN, "opens")];
        assert_eq!(identity(&[URL, APP, agent[0], agent[1]]).origin.name(), "Buildkite");
        assert_eq!(identity(&[URL, APP, agent[0], agent[1], (VARIABLE, "a.b.c")]).origin.name(), VARIABLE);
        for other in [("DEVANTURE_TOKEN", "t"), ("DEVANTURE_LOGIN", "ada")] {
            let found = credential(&[URL, APP, url, token, other], &[]).unwrap();
            assert!(!matches!(found, Credential::Identity(_)), "{other:?}");
        }
    }

    #[test]
    fn what_is_set_to_nothing_or_by_a_file_of_the_project_is_no_identity_token() {
        for (environment, dotenv) in [
            (&[URL, APP, (VARIABLE, " ")][..], &[][..]),
            (&[URL, APP], &[(VARIABLE, "a.b.c")]),
            (&[URL, APP], &GITHUB),
            (&[URL, APP, GITHUB[0]], &GITHUB[1..]),
            (&[URL, APP], &[(BUILDKITE, "true"), (BUILDKITE_TOKEN, "opens")]),
            (&[URL, APP, (BUILDKITE, "true")], &[]),
            (&[URL, APP, (BUILDKITE, "false"), (BUILDKITE_TOKEN, "opens")], &[]),
        ] {
            let failure = credential(environment, dotenv).unwrap_err();
            assert!(failure.is(Code::Unauthenticated), "{failure}");
        }
    }

    #[test]
    fn an_identity_token_goes_to_no_address_that_a_file_of_the_project_names() {
        let failure = credential(&[APP, (VARIABLE, "a.b.c")], &[URL]).unwrap_err();
        assert!(failure.is(Code::UntrustedSource) && failure.message.contains(VARIABLE), "{failure}");
        let failure = credential(&[URL, APP, GITHUB[0], GITHUB[1]], &[("DEVANTURE_CA", "ca.pem")]).unwrap_err();
        assert!(failure.is(Code::UntrustedSource) && failure.message.contains("GitHub Actions"), "{failure}");
        let failure = credential(&[URL, APP, (GITHUB_URL, "http://192.0.2.1/"), GITHUB[1]], &[]).unwrap_err();
        assert!(failure.is(Code::Usage) && !failure.message.contains("opens"), "{failure}");
    }
}
