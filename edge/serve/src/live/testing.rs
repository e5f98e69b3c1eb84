//! Live versions in the tests of other crates, which run no follower.

use devanture_config::{AppName, PlaceName};
use devanture_store::catalog::Revision;
use futures_util::FutureExt as _;

use super::Live;

impl Live {
    /// Has no commit wait for a follower, where a test runs none.
    pub fn follow_nothing(&self) {
        self.0.applied.send_replace(Revision::MAX);
    }

    /// Reports an environment that was loaded.
    pub fn show(&self, app: &AppName, environment: &PlaceName) {
        self.0.shown.send((app.clone(), environment.clone())).ok();
    }

    /// Whether a look at what could not be loaded was asked for, which no follower took.
    #[must_use]
    pub fn takes_look(&self) -> bool {
        self.0.looks.again.notified().now_or_never().is_some()
    }
}
