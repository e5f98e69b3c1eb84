//! Flags of `dev`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint};
use devanture_config::manifest::halves::Half;
use devanture_config::problem::Code;
use devanture_config::site_toml::{BadRoutePath, BadUpstreamUrl, RoutePath, UpstreamUrl};

use crate::output::exit::Failure;

/// The default port, the same as in the edge's sample.
const PORT: u16 = 8443;
/// The default path of `--api`.
pub(crate) const API_PATH: &str = "/api/*";
/// The value of `--api` for the environment's backend.
const REMOTE: &str = "remote";

/// Examples of `dev`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture dev                           the folder that devanture.toml names, at https://APP.localhost:8443
  devanture dev dist                      this folder
  devanture dev --api http://127.0.0.1:3000
                                          … with /api/* answered by a backend
  devanture dev --api /auth/*=http://127.0.0.1:4000 --api http://127.0.0.1:3000
  devanture dev --env staging             as it would answer in staging
  devanture dev --env staging --api remote
                                          this folder, with the backend that is live in staging
  devanture dev --env staging --front remote
                                          the backend of [server] here, with the pages that are live in staging
  devanture dev --port 0                  on a free port
  devanture dev --json | jq -r 'select(.event == \"live\") | .ms'

It serves on this machine only, until Ctrl-C. Open pages reload by themselves at each change.
After a mistake in a file the last good version is served until the next change.";

/// Flags of `dev`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    /// The folder; by default `www` of devanture.toml
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// A backend for /api/*, or for another path; replaces the route of devanture.toml for that path. `remote` sends
    /// all other routes to the environment of --env
    #[arg(long, value_name = "[PATH=]URL|remote")]
    pub(crate) api: Vec<Api>,
    /// Where the pages come from: `remote` takes those that are live in the environment of --env
    #[arg(long, value_name = "remote", conflicts_with = "dir")]
    pub(crate) front: Option<Front>,
    /// Port, on this machine only; 0 chooses a free one
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub(crate) port: u16,
    /// Look at the files once a second, for systems that do not report changes
    #[arg(long)]
    pub(crate) poll: bool,
}

impl DevArgs {
    /// Returns the backends given by address.
    pub(crate) fn api_routes(&self) -> Vec<ApiRoute> {
        let named = |api: &Api| match api {
            Api::Remote => None,
            Api::Route(route) => Some(route.clone()),
        };
        self.api.iter().filter_map(named).collect()
    }

    /// Returns the remote half, if any.
    ///
    /// # Errors
    /// `usage` if both are remote.
    pub(crate) fn remote_half(&self) -> Result<Option<Half>, Failure> {
        match (self.api.contains(&Api::Remote), self.front) {
            (true, Some(Front::Remote)) => {
                let message = "`--api remote` with `--front remote` leaves nothing to this machine.";
                Err(Failure::new(Code::Usage, message).hint("leave one of them out"))
            }
            (true, None) => Ok(Some(Half::Backend)),
            (false, Some(Front::Remote)) => Ok(Some(Half::Front)),
            (false, None) => Ok(None),
        }
    }
}

/// The value of `--front`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Front {
    /// The pages that are live in the environment.
    Remote,
}

/// A value of `--api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Api {
    /// The environment's backend.
    Remote,
    /// A backend, by its address.
    Route(ApiRoute),
}

impl FromStr for Api {
    type Err = BadApiRoute;

    fn from_str(text: &str) -> Result<Self, BadApiRoute> {
        if text == REMOTE { Ok(Self::Remote) } else { text.parse().map(Self::Route) }
    }
}

/// A path of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiRoute {
    /// The paths.
    pub(crate) path: RoutePath,
    /// The backend.
    pub(crate) to: UpstreamUrl,
}

/// The reason why a text is not a value of `--api`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadApiRoute {
    /// The path is invalid.
    #[error(transparent)]
    Path(#[from] BadRoutePath),
    /// The address is invalid.
    #[error(transparent)]
    Url(#[from] BadUpstreamUrl),
}

impl FromStr for ApiRoute {
    type Err = BadApiRoute;

    fn from_str(text: &str) -> Result<Self, BadApiRoute> {
        // No address of a backend begins with a slash, and no path contains a scheme before its first `=`.
        let (path, url) = text.split_once('=').filter(|_| text.starts_with('/')).unwrap_or((API_PATH, text));
        Ok(Self { path: path.parse()?, to: url.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_for_the_api_or_for_the_path_that_is_named() {
        let read = |text: &str| text.parse::<ApiRoute>().map(|r| (r.path.to_string(), r.to.to_string()));
        let pair = |path: &str, to: &str| Ok((path.to_owned(), to.to_owned()));
        assert_eq!(read("http://127.0.0.1:3000"), pair("/api/*", "http://127.0.0.1:3000"));
        assert_eq!(read("/auth/*=https://auth.test"), pair("/auth/*", "https://auth.test"));
        assert_eq!(read("/a=http://h"), pair("/a", "http://h"));
        for bad in ["", "3000", "api=http://h", "/api/*", "/a*=http://h", "http://h/path", "/a=ftp://h"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!("remote".parse(), Ok(Api::Remote));
        assert!("/api/*=remote".parse::<Api>().is_err());
    }
}
