//! Live versions in tests of other crates, which run no follower.

use devanture_config::{AppName, PlaceName};
use devanture_store::catalog::Revision;
use futures_util::FutureExt as _;

use super::Live;

impl Live {
    /// Makes commits visible without a follower.
    pub fn follow_nothing(&self) {
        self.0.applied.send_replace(Revision::MAX);
    }

    /// Reports an environment as loaded.
    pub fn show(&self, app: &AppName, environment: &PlaceName) {
        self.0.shown.send((app.clone(), environment.clone())).ok();
    }

    /// Returns true if a look at failed versions was requested and not yet taken.
    #[must_use]
    pub fn takes_look(&self) -> bool {
        self.0.looks.again.notified().now_or_never().is_some()
    }
}
