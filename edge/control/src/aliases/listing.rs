//! Common list of the environments and aliases of an app.

use devanture_config::api::{AliasList, PlaceStatus};
use devanture_config::{AppName, PlaceName};

use super::Aliases;
use crate::ledger::{Actor, Error, Page};
use devanture_store::records::{self, LivePointer};

/// Maximum number of environments, and of aliases, in a status.
const PLACES_MAX: usize = 1_000;

impl Aliases {
    /// Returns the environments and aliases of an app visible to the actor, up to the limit of a status; the flag is
    /// true if there are more.
    pub(crate) async fn all_places(&self, actor: &Actor, app: &AppName) -> Result<(Vec<PlaceStatus>, bool), Error> {
        let name = |key: &str| -> Option<PlaceName> { key.rsplit('/').next()?.parse().ok() };
        let mut places = Vec::new();
        let live = match &actor.environment {
            Some(own) => {
                let key = records::live_key(app, own);
                self.ledger.catalog.get(&key).await?.map(|record| (key, record)).into_iter().collect()
            }
            None => self.ledger.catalog.list(&records::live_prefix(app), None, false, PLACES_MAX + 1).await?,
        };
        for (key, record) in live.iter().take(PLACES_MAX) {
            // The status of the environment itself reports the damage.
            let Ok(pointer) = records::read::<LivePointer>(key, record) else { continue };
            places.extend(name(key).map(|name| self.environment_status(app, name, &pointer)));
        }
        let page = Page { limit: PLACES_MAX, after: None, cursor: "after" };
        let AliasList { aliases, next, .. } = self.aliases(actor, app, &page).await?;
        places.extend(aliases);
        Ok((places, live.len() > PLACES_MAX || next.is_some()))
    }

    fn environment_status(&self, app: &AppName, name: PlaceName, pointer: &LivePointer) -> PlaceStatus {
        let domains = self.ledger.live.domains();
        PlaceStatus {
            alias: false,
            version: pointer.version,
            url: domains.url(&domains.place_host(app, &name)),
            since_ms: pointer.switched_ms,
            who: None,
            expires_ms: None,
            name,
        }
    }
}
