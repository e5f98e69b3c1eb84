//! What is to become live where, how, and what it expects and passes.

use devanture_config::api::{DeployKind, Source};
use devanture_config::manifest::halves::{Half, Halves};
use devanture_config::{AppName, PlaceName, VersionId};

use crate::ledger::{Action, Actor, AuditEvent, Condition};
use crate::places::Passage;
use devanture_store::records::halves_begun::HalvesBegun;
use devanture_store::records::{CanaryRecord, LivePointer};

/// How a version becomes live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    Push,
    Switch,
    Rollback {
        /// The entry of the history that the next rollback starts from; `None` if the version was never live here.
        position: Option<String>,
    },
    Promote,
}

impl Move {
    /// The kind of its entry in the history.
    pub(crate) const fn kind(&self) -> DeployKind {
        match self {
            Self::Push => DeployKind::Push,
            Self::Switch => DeployKind::Switch,
            Self::Rollback { .. } => DeployKind::Rollback,
            Self::Promote => DeployKind::Promote,
        }
    }

    const fn action(&self) -> Action {
        match self {
            Self::Push => Action::Push,
            Self::Switch => Action::Switch,
            Self::Rollback { .. } => Action::Rollback,
            Self::Promote => Action::Promote,
        }
    }

    pub(crate) const fn is_push(&self) -> bool {
        matches!(self, Self::Push)
    }

    pub(crate) const fn is_rollback(&self) -> bool {
        matches!(self, Self::Rollback { .. })
    }

    /// Whether it goes back to a version that was live here: it was checked then, and an incident must not wait.
    pub(crate) const fn was_live_here(&self) -> bool {
        matches!(self, Self::Rollback { position: Some(_) })
    }

    /// Whether the version's rules were not checked for this environment before: those of a push were, a moment ago.
    pub(crate) const fn has_unchecked_rules(&self) -> bool {
        !self.is_push() && !self.was_live_here()
    }
}

/// What a move has to do with a canary.
#[derive(Debug, Clone, Default)]
pub(crate) enum CanaryMove {
    /// Nothing: it is refused while one runs.
    #[default]
    None,
    /// It begins this one, and leaves live what is live.
    Begins(Box<CanaryRecord>),
    /// It makes the version of the canary live that this deploy began.
    Finishes(String),
}

/// Preconditions of a move: it fails where something else is live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preconditions<'i> {
    /// The id of a version, or its beginning.
    pub(crate) version: Option<&'i str>,
    /// The revision of the live pointer.
    pub(crate) condition: &'i Condition,
    /// The deploy that it undoes.
    pub(crate) undone: Option<Undone<'i>>,
}

/// A deploy that the edge undoes by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undone<'i> {
    pub(crate) deploy: &'i str,
    pub(crate) why: &'i str,
}

/// The checks that a move passes.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line, and none excludes another")]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Passes {
    /// What is live came from a push that began later.
    pub(crate) newer_pushes: bool,
    /// A fingerprinted name gets other content.
    pub(crate) fingerprints: bool,
    /// The environment is locked, where the actor may pass that.
    pub(crate) lock: bool,
    /// The checks of `[[smoke]]`.
    pub(crate) smoke: bool,
}

/// What is to become live, and why.
pub(crate) struct Intent<'i> {
    pub(crate) app: &'i AppName,
    pub(crate) environment: &'i PlaceName,
    pub(crate) version: VersionId,
    pub(crate) movement: Move,
    /// The id of the deploy.
    pub(crate) deploy: &'i str,
    /// Orders pushes: a smaller number began earlier.
    pub(crate) begun: u64,
    pub(crate) actor: &'i Actor,
    pub(crate) source: &'i Source,
    /// The lines of its log so far.
    pub(crate) log: &'i [String],
    pub(crate) expected: Preconditions<'i>,
    pub(crate) passes: Passes,
    /// The revision of the settings that is to hold; by default the one that holds already.
    pub(crate) settings: Option<u64>,
    /// Of a push of one half that takes the other from what is live: which half, and from which version.
    pub(crate) half: Option<(Half, Option<VersionId>)>,
    /// The halves that a push brings, and the version that gives the other one, for the history.
    pub(crate) brought: (Option<Halves>, Option<VersionId>),
    /// Why, as far as the actor said it.
    pub(crate) reason: Option<&'i str>,
    /// What it has to do with a canary.
    pub(crate) canary: CanaryMove,
}

impl Intent<'_> {
    /// How it treats a lock of its environment.
    pub(crate) const fn passage(&self) -> Passage {
        match (&self.movement, self.passes.lock, self.expected.undone) {
            (Move::Push, ..) => Passage::Push,
            (_, false, _) => Passage::Stops,
            (_, true, None) => Passage::Forced,
            (_, true, Some(_)) => Passage::Undo,
        }
    }

    /// When the pushes of the halves of what is live began, once it is.
    pub(crate) fn halves_begun(&self, live: Option<&LivePointer>) -> HalvesBegun {
        let before = live.map(LivePointer::halves).unwrap_or_default();
        match (&self.movement, self.half) {
            (Move::Push, Some((half, _))) => before.with(half, self.begun),
            (Move::Push, None) => HalvesBegun::both(self.begun),
            // Going back does not let a push through that was older than the one gone back from: that one's number
            // stays.
            (Move::Switch | Move::Rollback { .. } | Move::Promote, _) => before,
        }
    }

    /// When the newest push of what is live began that this one would take over from.
    pub(crate) fn taken_over(&self, live: &LivePointer) -> u64 {
        self.half.map_or(live.begun, |(half, _)| live.halves().of(half))
    }

    /// The canary that it begins.
    pub(crate) fn begun_canary(&self) -> Option<&CanaryRecord> {
        match &self.canary {
            CanaryMove::Begins(record) => Some(record),
            CanaryMove::None | CanaryMove::Finishes(_) => None,
        }
    }

    /// Its entry of the audit log.
    pub(crate) fn event(&self) -> AuditEvent {
        let action = if self.begun_canary().is_some() { Action::Canary } else { self.movement.action() };
        AuditEvent::of(action).place(self.app, self.environment)
    }
}
