//! Steps of a decision, for explanations.

use devanture_config::rules::Redirect;
use serde::Serialize;

use super::outcome::Refused;
use crate::rules::Skip;

/// The stages of a decision, in order; the first stage with a result decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The canonical hostname.
    Host,
    /// An unknown method.
    Method,
    /// The edge's own paths.
    Own,
    /// Routes, the longest first.
    Routes,
    /// The normal form of a path.
    Spelling,
    /// Access.
    Access,
    /// Rules that precede files.
    ForcedRules,
    /// Files and pages.
    Files,
    /// Rules for paths without a file.
    Rules,
    /// The last resort.
    NotFound,
}

impl Stage {
    /// The stage of a redirect or rewrite.
    #[must_use]
    pub const fn of_rule(rule: &Redirect) -> Self {
        if rule.force { Self::ForcedRules } else { Self::Rules }
    }

    /// The name for messages.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Host => "hostname",
            Self::Method => "method",
            Self::Own => "own paths",
            Self::Routes => "routes",
            Self::Spelling => "spelling",
            Self::Access => "access",
            Self::ForcedRules => "forced rules",
            Self::Files => "files",
            Self::Rules => "rules",
            Self::NotFound => "not found",
        }
    }
}

/// Receives every step of a decision.
pub trait Trace {
    /// True if the trace reads the steps: rules are then tried in their order, and otherwise in the order of the index.
    const LISTENS: bool;

    /// Records a step.
    fn step(&mut self, step: Step<'_>);
}

/// Discards all steps: compiles to no code.
#[derive(Debug, Clone, Copy, Default)]
pub struct Untraced;

impl Trace for Untraced {
    const LISTENS: bool = false;

    #[inline(always)]
    fn step(&mut self, _: Step<'_>) {}
}

/// A step of a decision.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The stage decides, by the rule of the given number, if any.
    Ended(Stage, Option<u32>, Reason<'a>),
    /// No file or page at the path.
    NoFile(&'a str),
    /// The site has no routes.
    NoRoutes,
    /// The path is in its normal form.
    Normal,
    /// The path is not one of the edge's own.
    NotOwn,
    /// No rule protects the path from the visitor.
    Open,
    /// No match of `path` among the routes before number `before`, or among all routes.
    OtherRoutes {
        /// The path, as compared with routes.
        path: &'a str,
        /// The matching route.
        before: Option<usize>,
    },
    /// The preceding response is a backend's, and the edge answers the preflight instead.
    Preflight,
    /// The redirect or rewrite of the given number is skipped.
    Rule(u32, Skip),
}

/// Reason that a stage decides.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// A file or page.
    File {
        /// The number of the file.
        file: u32,
        /// The status.
        status: u16,
    },
    /// The path is another spelling of a page's address.
    HtmlHandling,
    /// The path requires a name and a password.
    KeptOut(&'a str),
    /// OPTIONS for files.
    Methods,
    /// No content.
    Nothing,
    /// The path is one of the edge's own.
    Own,
    /// An error.
    Refused(Refused),
    /// The path matches the route of the number.
    Route(usize),
    /// The path matches the route of the number, with the given normal form.
    RouteSpelling(usize, &'a str),
    /// The rule is the first that applies.
    Rule,
    /// The path has another normal form.
    Spelling {
        /// The normal form, encoded.
        to: &'a str,
        /// True if `to` is a page's canonical address.
        is_moved: bool,
    },
    /// OPTIONS for the server as a whole.
    WholeServer,
}
