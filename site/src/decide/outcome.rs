//! The outcome of a request: its end, and the remaining inputs of the response head.

use std::borrow::Cow;

use super::OwnPath;
use crate::cache::Kept;
use crate::rules::{Access, Varies};
use crate::target::TargetError;

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'r, A> {
    /// The end of the request.
    pub end: End<A>,
    /// The path for rules about response fields: the normal form, decoded, if the request got so far.
    pub path: Cow<'r, str>,
    /// Dependencies of rules, whether or not the rules applied.
    pub varies: Varies,
    /// The number of the deciding redirect or rewrite.
    pub rule: Option<u32>,
}

/// End of a request. `A` is an asset of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<A> {
    /// A fingerprinted asset of an earlier version, or of a version about to go live (law 10).
    Asset {
        /// The asset.
        asset: A,
        /// Access restriction of the asset.
        access: Access,
    },
    /// A request to a backend.
    Backend {
        /// The backend.
        to: Backend,
        /// The target, if a rule changes the target of the request.
        path_and_query: Option<String>,
    },
    /// A file.
    File {
        /// The number of the file.
        file: u32,
        /// The status.
        status: u16,
        /// Cache class of the file, which decides the lifetime in caches.
        kept: Kept,
        /// Access restriction of the file.
        access: Access,
    },
    /// The methods of files: 204.
    Methods,
    /// 404, without a page of the site.
    Nothing,
    /// A response of the edge itself.
    Own(OwnPath),
    /// A preflight of an allowed origin: 204, in place of a backend.
    Preflight,
    /// A redirect.
    Redirect {
        /// The status.
        status: u16,
        /// The target.
        location: String,
        /// True if a rule or page handling of the site redirects, rather than the normal form of the path.
        is_by_site: bool,
    },
    /// An error.
    Refused(Refused),
}

/// A backend, by its number in the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The backend of a route.
    Route(usize),
    /// The pool of a rewrite.
    Upstream(usize),
}

/// Reason of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A rewrite yields no valid path.
    BadRewrite,
    /// The path is invalid.
    BadTarget(TargetError),
    /// Files do not support the method.
    MethodNotAllowed,
    /// The method is unknown, or cannot be forwarded.
    MethodUnknown,
    /// The site restricts access to the path.
    Unauthorised,
}

impl Refused {
    /// The status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadTarget(TargetError::TooLong) => 414,
            Self::BadTarget(_) | Self::BadRewrite => 400,
            Self::MethodNotAllowed => 405,
            Self::MethodUnknown => 501,
            Self::Unauthorised => 401,
        }
    }
}

impl<'r, A> Outcome<'r, A> {
    /// An outcome without any rule.
    pub(super) fn of(end: End<A>, path: Cow<'r, str>) -> Self {
        Self { end, path, varies: Varies::default(), rule: None }
    }
}

impl<A> From<End<A>> for Outcome<'_, A> {
    /// An outcome without rules for response fields.
    fn from(end: End<A>) -> Self {
        Self::of(end, Cow::Borrowed(""))
    }
}
