//! The start of the pushes that brought the halves of a live version, or of an alias' version.

use devanture_config::manifest::halves::Half;
use serde::{Deserialize, Serialize};

/// The numbers of two pushes, as numbered by `publish`: an older push of a half does not replace a newer push of the
/// same half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HalvesBegun {
    /// The push that brought the backend.
    pub backend: u64,
    /// The push that brought the front.
    pub front: u64,
}

impl HalvesBegun {
    /// Returns the numbers of a single push of both halves.
    #[must_use]
    pub const fn both(begun: u64) -> Self {
        Self { backend: begun, front: begun }
    }

    /// Returns the number of one half's push.
    #[must_use]
    pub const fn of(self, half: Half) -> u64 {
        match half {
            Half::Backend => self.backend,
            Half::Front => self.front,
        }
    }

    /// Replaces the push of one half.
    #[must_use]
    pub const fn with(self, half: Half, begun: u64) -> Self {
        match half {
            Half::Backend => Self { backend: begun, ..self },
            Half::Front => Self { front: begun, ..self },
        }
    }

    /// Returns the number of the newer push, and the value that a record stores beside it.
    #[must_use]
    pub fn recorded(self) -> (u64, Option<Self>) {
        (self.backend.max(self.front), (self.backend != self.front).then_some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_both_pushes_only_where_they_differ() {
        let whole = HalvesBegun::both(5);
        assert_eq!(whole.recorded(), (5, None));
        let halves = whole.with(Half::Front, 7);
        assert_eq!(halves.recorded(), (7, Some(HalvesBegun { backend: 5, front: 7 })));
        assert_eq!((halves.of(Half::Front), halves.of(Half::Backend)), (7, 5));
        assert_eq!(halves.with(Half::Backend, 7).recorded(), (7, None));
    }

    #[test]
    fn a_record_of_an_earlier_release_is_that_of_one_push_of_both() {
        let version = devanture_config::VersionId::of(b"");
        let live = serde_json::json!({
            "version": version, "settings": 0, "switched_ms": 0, "deploy": "d", "begun": 5, "position": ""
        });
        let live: crate::records::LivePointer = serde_json::from_value(live).unwrap();
        assert_eq!((live.halves_begun, live.halves()), (None, HalvesBegun::both(5)));
        assert!(!serde_json::to_string(&live).unwrap().contains("halves_begun"));
    }
}
