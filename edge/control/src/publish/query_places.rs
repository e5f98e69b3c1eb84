//! Permits for queries to other nodes about an environment: each query costs a connection to every node.

use std::sync::Arc;

use devanture_config::AppName;
use devanture_config::problem::{Code, Problem};

use crate::ledger::Error;
use devanture_base::fair::{Share, Shares};

/// Most concurrent queries to other nodes about environments, at most half for one app.
const QUERIES_MAX: u64 = 32;

/// Permits for queries.
pub(super) struct QueryPlaces(Arc<Shares>);

impl QueryPlaces {
    pub(super) fn new() -> Self {
        Self(Shares::new(QUERIES_MAX))
    }

    /// Takes a permit for a query about `app`, released on drop.
    ///
    /// # Errors
    /// `busy`.
    pub(super) fn take(&self, app: &AppName) -> Result<Share, Error> {
        self.0.take(app).ok_or_else(|| {
            let detail = format!("Too many requests about the app {app} ask the other nodes just now.");
            Problem::new(Code::Busy, detail).hint("try again in a moment, with fewer requests at once").into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_11_an_app_that_asks_the_other_nodes_without_end_leaves_places_to_others() {
        let (places, app, other) = (QueryPlaces::new(), "shop".parse().unwrap(), "blog".parse().unwrap());
        let of_app: Vec<Share> = (0..500).map_while(|_| places.take(&app).ok()).collect();
        assert_eq!(u64::try_from(of_app.len()).unwrap(), QUERIES_MAX / 2);
        assert_eq!(places.take(&app).err().unwrap().0.code, Code::Busy);
        let of_other = places.take(&other).ok();
        assert!(of_other.is_some());
        drop(of_app);
        assert!(places.take(&app).is_ok());
    }
}
