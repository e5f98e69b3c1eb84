//! Running loads: one at a time of each version, and few at a time of versions with long manifests (law 11).

use devanture_config::{AppName, VersionId};
use tokio::sync::OwnedSemaphorePermit;

use super::load::{Load, LoadTurn};
use devanture_base::fair::{KeyedSemaphore, Lane, Turn};
use devanture_store::blobs::{Blobs, Error, ManifestTurns};

/// The running loads.
pub(super) struct Loading {
    turns: ManifestTurns,
    versions: KeyedSemaphore<(AppName, VersionId)>,
}

/// Permit to load a version, until dropped.
#[must_use = "the version is loaded while this lives"]
pub(super) struct LoadPermit {
    _version: Option<OwnedSemaphorePermit>,
    _turn: Option<Turn>,
}

impl Loading {
    pub(super) fn new() -> Self {
        Self { turns: ManifestTurns::new(), versions: KeyedSemaphore::new(1) }
    }

    /// Waits until a load may begin: another load may have loaded the version by then.
    ///
    /// # Errors
    /// The store fails.
    pub(super) async fn begin(&self, blobs: &dyn Blobs, load: &Load) -> Result<LoadPermit, Error> {
        // The turn comes first. A load that holds a version's lock then waits for no turn, so that a load with `AtOnce`
        // waits for at most one load of the version, and never for loads in the queue.
        let turn = match load.turn {
            LoadTurn::InTurn => self.turns.take(blobs, Lane::of(load.app.as_str()), &[load.id]).await?,
            LoadTurn::AtOnce => None,
        };
        let version = self.versions.take((load.app.clone(), load.id)).await;
        Ok(LoadPermit { _version: version, _turn: turn })
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::Limits;
    use devanture_config::{Digest, PlaceName};
    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::live::test_world::World;
    use devanture_store::blobs::{self, Key, LONG_MANIFESTS_AT_ONCE};

    /// Manifest tables that make a manifest long.
    fn long() -> Value {
        let tables = (0..3_000).map(|number| (format!("table-{number}"), json!({"not_found": "none"})));
        Value::Object(tables.collect::<Map<_, _>>())
    }

    #[tokio::test]
    async fn loads_of_one_version_that_come_together_read_its_manifest_once() {
        for (tables, name) in [(json!({}), "short"), (long(), "long")] {
            let world = World::new(&Limits::default()).await;
            let id = world.store("shop", "hi", 10, tables).await;
            let app: AppName = "shop".parse().unwrap();
            let places: Vec<PlaceName> = (0..16).map(|number| format!("place-{number}").parse().unwrap()).collect();
            let all = join_all(places.iter().map(|place| world.loader.load(Load::live(&app, &id, place)))).await;
            assert!(all.iter().all(Result::is_ok), "{name}");
            assert_eq!(world.loader.manifests_read(), 1, "{name}");
        }
    }

    #[tokio::test]
    async fn law_11_long_manifests_are_loaded_in_turns_of_their_apps_which_hold_up_nothing_else() {
        let (folder, loading) = (tempfile::tempdir().unwrap(), Loading::new());
        let stored = blobs::open(folder.path().to_owned()).unwrap();
        let (blobs, loading) = (&*stored, &loading);
        let store = async |number: u8, length: usize| {
            let bytes = vec![number; length];
            let id: VersionId = Digest::of(&bytes);
            blobs.put(Key::Manifest(id), bytes.into()).await.unwrap();
            id
        };
        let load = |app: &str, id: &VersionId| Load::live(&app.parse().unwrap(), id, &PlaceName::prod());
        let mut long = Vec::new();
        for number in 0..8 {
            long.push(store(number, 70_000).await);
        }
        let short = store(9, 1_000).await;
        let begin = |load: Load| Box::pin(async move { loading.begin(blobs, &load).await.unwrap() });
        let mut held = Vec::new();
        for id in &long[..LONG_MANIFESTS_AT_ONCE] {
            held.push(begin(load("greedy", id)).await);
        }
        let [mut fifth, mut sixth] = [4, 5].map(|number: usize| begin(load("greedy", &long[number])));
        let mut other = begin(load("shop", &long[6]));
        for (waiting, load) in (0..).zip([&mut fifth, &mut sixth, &mut other]) {
            // The length of a manifest comes from a blocking thread.
            while loading.turns.waiting() == waiting {
                assert!(poll!(&mut *load).is_pending());
                tokio::task::yield_now().await;
            }
        }
        // Short manifests wait for no turn, and the follower's loads wait only for loads of the same version.
        drop((begin(load("greedy", &short)).await, begin(load("shop", &short)).await));
        let at_once = |id: &VersionId| begin(Load { turn: LoadTurn::AtOnce, ..load("greedy", id) });
        drop(at_once(&long[7]).await);
        let mut same = at_once(&long[0]);
        assert!(poll!(&mut same).is_pending());
        drop(held.remove(0));
        assert!(poll!(&mut same).is_ready());
        held.extend((&mut fifth).now_or_never());
        assert!(held.len() == LONG_MANIFESTS_AT_ONCE && poll!(&mut other).is_pending());
        // The other app is next, though the greedy one has waited longer.
        drop(held.remove(0));
        held.extend((&mut other).now_or_never());
        assert!(held.len() == LONG_MANIFESTS_AT_ONCE && poll!(&mut sixth).is_pending());
        drop(held);
        assert!(poll!(&mut sixth).is_ready());
    }
}
