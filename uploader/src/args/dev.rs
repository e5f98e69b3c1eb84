//! Flags of `dev`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueHint};
use devanture_config::site_toml::{BadRoutePath, BadUpstreamUrl, RoutePath, UpstreamUrl};

/// The port where nobody says another: that of the edge's own sample.
const PORT: u16 = 8443;
/// The path of `--api` where nobody says another.
const API_PATH: &str = "/api/*";

/// Examples of `dev`.
pub(super) const EXAMPLES: &str = "\
Examples:
  devanture dev                           the folder that devanture.toml names, at https://APP.localhost:8443
  devanture dev dist                      this folder
  devanture dev --api http://127.0.0.1:3000
                                          … with /api/* answered by a backend
  devanture dev --api /auth/*=http://127.0.0.1:4000 --api http://127.0.0.1:3000
  devanture dev --env staging             as it would answer in staging
  devanture dev --port 0                  on a port that is free
  devanture dev --json | jq -r 'select(.event == \"live\") | .ms'

It serves on this machine alone, until Ctrl-C. A page that is open shows each change by itself.
After a mistake in a file, what was served before still is; the next change is tried again.";

/// Flags of `dev`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DevArgs {
    /// The folder; `www` of devanture.toml where nothing is said
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// A backend for /api/*, or for another path; in place of the route that devanture.toml has for it
    #[arg(long, value_name = "[PATH=]URL")]
    pub(crate) api: Vec<ApiRoute>,
    /// The port, on this machine alone; 0 is one that is free
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub(crate) port: u16,
    /// Look at the files once a second, where the system does not tell of their changes
    #[arg(long)]
    pub(crate) poll: bool,
}

/// A path that goes to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiRoute {
    /// Which paths.
    pub(crate) path: RoutePath,
    /// Where to.
    pub(crate) to: UpstreamUrl,
}

/// Says why a text is no value of `--api`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadApiRoute {
    /// Its path is none.
    #[error(transparent)]
    Path(#[from] BadRoutePath),
    /// Its address is none.
    #[error(transparent)]
    Url(#[from] BadUpstreamUrl),
}

impl FromStr for ApiRoute {
    type Err = BadApiRoute;

    fn from_str(text: &str) -> Result<Self, BadApiRoute> {
        // No address of a backend begins with a slash, and no path holds a scheme before its first `=`.
        let (path, url) = text.split_once('=').filter(|_| text.starts_with('/')).unwrap_or((API_PATH, text));
        Ok(Self { path: path.parse()?, to: url.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_for_the_api_or_for_the_path_that_is_said() {
        let read = |text: &str| text.parse::<ApiRoute>().map(|r| (r.path.to_string(), r.to.to_string()));
        let pair = |path: &str, to: &str| Ok((path.to_owned(), to.to_owned()));
        assert_eq!(read("http://127.0.0.1:3000"), pair("/api/*", "http://127.0.0.1:3000"));
        assert_eq!(read("/auth/*=https://auth.test"), pair("/auth/*", "https://auth.test"));
        assert_eq!(read("/a=http://h"), pair("/a", "http://h"));
        for bad in ["", "3000", "api=http://h", "/api/*", "/a*=http://h", "http://h/path", "/a=ftp://h"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
