//! The steps on the way to an outcome, for those who explain it.

use devanture_config::rules::Redirect;
use serde::Serialize;

use super::outcome::Refused;
use crate::rules::Skip;

/// The stages on the way to an answer, in this order; the first that has one gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The canonical hostname.
    Host,
    /// A method that no path has.
    Method,
    /// The edge's own paths.
    Own,
    /// Routes, the longest first.
    Routes,
    /// The one normal form of a path.
    Spelling,
    /// Access.
    Access,
    /// Rules that go before files.
    ForcedRules,
    /// Files and pages.
    Files,
    /// Rules that apply where no file is.
    Rules,
    /// The last resort.
    NotFound,
}

impl Stage {
    /// The one that a redirect or rewrite belongs to.
    #[must_use]
    pub const fn of_rule(rule: &Redirect) -> Self {
        if rule.force { Self::ForcedRules } else { Self::Rules }
    }

    /// In a few words.
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

/// Hears of every step of a decision.
pub trait Trace {
    /// Whether anybody listens: rules are then looked at in their order, and else in the order in which they are found.
    const LISTENS: bool;

    /// Notes a step.
    fn step(&mut self, step: Step<'_>);
}

/// Nobody listens: this compiles to nothing.
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
    /// The stage gives the answer, by the rule of that number if it has one.
    Ended(Stage, Option<u32>, Reason<'a>),
    /// No file or page has this path.
    NoFile(&'a str),
    /// There are no routes.
    NoRoutes,
    /// The path is in its normal form.
    Normal,
    /// The path is none of the edge's own.
    NotOwn,
    /// No rule keeps the path from this visitor.
    Open,
    /// The routes before that of the number `before`, or all of them, do not take `path`.
    OtherRoutes {
        /// The path, as it is compared with routes.
        path: &'a str,
        /// The route that takes it.
        before: Option<usize>,
    },
    /// The answer that was just noted is a backend's, and the edge answers the preflight in its place.
    Preflight,
    /// The redirect or rewrite of that number is passed over.
    Rule(u32, Skip),
}

/// Why a stage gives the answer.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// A file or page.
    File {
        /// Its number.
        file: u32,
        /// The status.
        status: u16,
    },
    /// The path is another spelling of a page's own.
    HtmlHandling,
    /// This path is for those who have a name and a password.
    KeptOut(&'a str),
    /// OPTIONS for files.
    Methods,
    /// There is nothing.
    Nothing,
    /// The path is one of the edge's own.
    Own,
    /// An error.
    Refused(Refused),
    /// The route of this number takes the path.
    Route(usize),
    /// The route of this number takes the path, whose normal form is this one.
    RouteSpelling(usize, &'a str),
    /// The rule is the first that applies.
    Rule,
    /// The path has another normal form.
    Spelling {
        /// The normal form, encoded.
        to: &'a str,
        /// Whether that is another spelling of a page's own place.
        is_moved: bool,
    },
    /// OPTIONS for the server as a whole.
    WholeServer,
}
