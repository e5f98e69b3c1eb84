//! Notes taken while an answer is decided, which explain it.

use serde::Serialize;

use crate::rules::At;

/// Most notes that are kept of one stage.
const STAGE_NOTES_MAX: usize = 20;

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

/// Where what is noted stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stands {
    /// Nowhere: it is so in every site.
    #[default]
    Nowhere,
    /// In a rule.
    At(At),
    /// Below this key of `devanture.toml`, such as `routes[0]` or `not_found`.
    Key(String),
}

/// A stage and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The stage.
    pub stage: Stage,
    /// Whether it gives the answer.
    pub answers: bool,
    /// Why, or why not, as a clause.
    pub why: String,
    /// Where it stands.
    pub stands: Stands,
}

/// Collects notes, where somebody wants them.
#[derive(Debug, Default)]
pub(super) struct Notes {
    all: Option<Vec<Note>>,
    /// Whether it may be otherwise for some visitors.
    pub(super) may_differ: bool,
}

impl Notes {
    /// Notes that are kept.
    pub(super) fn kept() -> Self {
        Self { all: Some(Vec::new()), may_differ: false }
    }

    /// Whether anybody wants them.
    pub(super) const fn are_wanted(&self) -> bool {
        self.all.is_some()
    }

    /// Notes that something does not answer.
    pub(super) fn passed(&mut self, stage: Stage, stands: Stands, why: impl FnOnce() -> String) {
        let Some(all) = &mut self.all else { return };
        let count = all.iter().filter(|note| note.stage == stage).count();
        if count < STAGE_NOTES_MAX {
            all.push(Note { stage, answers: false, why: why(), stands });
        } else if count == STAGE_NOTES_MAX {
            let why = "and more that do not apply".to_owned();
            all.push(Note { stage, answers: false, why, stands: Stands::Nowhere });
        }
    }

    /// Notes what answers.
    pub(super) fn ended(&mut self, stage: Stage, stands: Stands, why: impl FnOnce() -> String) {
        if let Some(all) = &mut self.all {
            all.push(Note { stage, answers: true, why: why(), stands });
        }
    }

    /// All of them in the order of the stages; none of what would come after the answer.
    pub(super) fn in_order(self) -> Vec<Note> {
        let mut all = self.all.unwrap_or_default();
        let last = all.iter().find(|note| note.answers).map(|note| note.stage);
        all.retain(|note| last.is_none_or(|last| note.stage <= last));
        all.sort_by_key(|note| (note.stage, note.answers));
        all
    }
}
