//! Path of a route, and its matches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// Path of a route: `/api/*` for `/api` and everything below, or a single path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoutePath(String);

/// Error for an invalid route path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the path of a route: it begins with /, holds no empty, . or .. segment, and * only as its last segment"
)]
pub struct BadRoutePath(pub String);

impl RoutePath {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before `/*`, and true for a path with this ending.
    #[must_use]
    pub fn prefix(&self) -> (&str, bool) {
        match self.0.strip_suffix("/*") {
            Some(prefix) => (prefix, true),
            None => (&self.0, false),
        }
    }

    /// Returns true if the route matches `path`, by whole segments; `path` is normal, and decoded except for encoded
    /// slashes.
    #[must_use]
    pub fn takes(&self, path: &str) -> bool {
        match self.prefix() {
            (prefix, true) => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            (exact, false) => path == exact,
        }
    }
}

impl FromStr for RoutePath {
    type Err = BadRoutePath;

    fn from_str(text: &str) -> Result<Self, BadRoutePath> {
        let bad = || BadRoutePath(text.chars().take(200).collect());
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        let segments: Vec<&str> = rest.split('/').collect();
        let count = segments.len();
        let fine = segments.iter().enumerate().all(|(index, segment)| match *segment {
            "*" => index + 1 == count,
            // `/` alone is a path too, and so is `/api/` with its final slash.
            "" => index + 1 == count,
            "." | ".." => false,
            s => !s.contains(['*', '?', '#', '\\', '%']) && !s.chars().any(|c| c.is_control() || c.is_whitespace()),
        });
        if fine { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }
}

impl fmt::Display for RoutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_form!(RoutePath, BadRoutePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_path_is_whole_segments() {
        for good in ["/", "/*", "/api", "/api/*", "/a/b/*", "/api/"] {
            assert!(good.parse::<RoutePath>().is_ok(), "{good}");
        }
        for bad in ["", "api", "/a//b", "/a/../b", "/a*", "/*/b", "/a?b", "/a b", "/a%2fb"] {
            assert!(bad.parse::<RoutePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_route_takes_whole_segments() {
        for (pattern, path, matches) in [
            ("/api/*", "/api", true),
            ("/api/*", "/api/", true),
            ("/api/*", "/api/x/y", true),
            ("/api/*", "/apix", false),
            ("/api/*", "/api%2Fx", false),
            ("/api/*", "/api/a%2Fb", true),
            ("/api/*", "/API/x", false),
            ("/hook", "/hook", true),
            ("/hook", "/hook/", false),
            ("/hook/", "/hook/", true),
            ("/hook/", "/hook", false),
            ("/*", "/", true),
            ("/*", "/x", true),
            ("/", "/", true),
            ("/", "/x", false),
        ] {
            assert_eq!(pattern.parse::<RoutePath>().unwrap().takes(path), matches, "{pattern} {path}");
        }
    }
}
