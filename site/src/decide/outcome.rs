//! The outcome of a request: its end, and what else the head of the answer depends on.

use std::borrow::Cow;

use super::OwnPath;
use crate::cache::Kept;
use crate::rules::{Access, Varies};
use crate::target::TargetError;

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<'r, A> {
    /// How it ends.
    pub end: End<A>,
    /// The path by which rules change the fields of the answer: its normal form, decoded, where the request got so far.
    pub path: Cow<'r, str>,
    /// Dependencies of rules, whether or not they applied.
    pub varies: Varies,
    /// The redirect or rewrite that led there, by its number.
    pub rule: Option<u32>,
}

/// How a request ends. `A` is an asset of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<A> {
    /// A fingerprinted asset of a version that was replaced, or is about to be live (law 10).
    Asset {
        /// Which.
        asset: A,
        /// Whether only some may see it.
        access: Access,
    },
    /// A backend is asked.
    Backend {
        /// Which.
        to: Backend,
        /// The target, where a rule changes that of the request.
        path_and_query: Option<String>,
    },
    /// A file.
    File {
        /// Its number.
        file: u32,
        /// The status.
        status: u16,
        /// Its kind, which decides how long it may be cached.
        kept: Kept,
        /// Whether only some may see it.
        access: Access,
    },
    /// The methods that files have: 204.
    Methods,
    /// 404, without a page of the site.
    Nothing,
    /// The edge itself.
    Own(OwnPath),
    /// A preflight of an origin that the site names: 204, in place of a backend.
    Preflight,
    /// The visitor is sent elsewhere.
    Redirect {
        /// The status.
        status: u16,
        /// Where to.
        location: String,
        /// Whether that is the site's own doing; else the path is written in another form than the normal one.
        is_by_site: bool,
    },
    /// An error.
    Refused(Refused),
}

/// A backend, by its number in the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// That of a route.
    Route(usize),
    /// The pool that a rewrite names.
    Upstream(usize),
}

/// Why a request is answered with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A rule makes no path of it.
    BadRewrite,
    /// The path can be none.
    BadTarget(TargetError),
    /// Files do not have this method.
    MethodNotAllowed,
    /// Nobody has this method, or none that is sent on.
    MethodUnknown,
    /// The site lets only some see this.
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
    /// One that no rule had a part in.
    pub(super) fn of(end: End<A>, path: Cow<'r, str>) -> Self {
        Self { end, path, varies: Varies::default(), rule: None }
    }
}

impl<A> From<End<A>> for Outcome<'_, A> {
    /// One whose fields no rule changes.
    fn from(end: End<A>) -> Self {
        Self::of(end, Cow::Borrowed(""))
    }
}
