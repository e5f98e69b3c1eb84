//! Serves a version ahead of the pointer of its environment: a rollout that moves one node first.

use std::sync::Arc;

use super::{Current, Live, Place};

/// Guard of a version served ahead of the pointer. Dropping the guard restores the pointer's version, unless the
/// pointer has moved.
#[must_use = "the version is served ahead for as long as this lives"]
pub struct ServedFirst {
    live: Live,
    place: Arc<Place>,
    next: Arc<Current>,
}

impl ServedFirst {
    /// Keeps serving the version: the pointer has moved there, or is about to.
    pub fn keep(self) {
        self.place.take_ahead(&self.next);
    }

    /// Returns true while the version is served: the pointer has not moved.
    #[must_use]
    pub fn is_served(&self) -> bool {
        self.place.is_ahead(&self.next)
    }
}

impl Drop for ServedFirst {
    fn drop(&mut self) {
        self.live.end_first(&self.place, &self.next);
    }
}

impl Live {
    /// Serves `next` in an environment with a live version; `None` without a live version.
    pub fn serve_first(&self, place: &Arc<Place>, next: Arc<Current>) -> Option<ServedFirst> {
        let is_ahead = place.go_ahead(Arc::clone(&next), &self.0.grace);
        self.note_canary(place);
        is_ahead.then(|| ServedFirst { live: self.clone(), place: Arc::clone(place), next })
    }

    /// Restores the pointer's version if `next` is served ahead of the pointer.
    pub(super) fn end_first(&self, place: &Place, next: &Arc<Current>) {
        place.go_back(next, &self.0.grace);
        self.note_canary(place);
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::limits::Limits;
    use serde_json::json;

    use super::*;
    use crate::live::Load;
    use crate::live::test_world::World;

    /// An environment that serves the first of two versions, and the second as a candidate.
    async fn two_versions(world: &World) -> (Arc<Place>, Arc<Current>) {
        let one = world.store("shop", "one", 0, json!({})).await;
        let two = world.store("shop", "two", 0, json!({})).await;
        world.switch("shop", "prod", one, None).await;
        let place = world.place("shop", "prod");
        let version = world.loader.load(Load::live(&place.app, &two, &place.name)).await.unwrap();
        let before = place.current().unwrap();
        let next = Current::new(version, 0, Arc::clone(&before.withdrawn), before.settings.clone());
        (place, Arc::new(next))
    }

    #[tokio::test]
    async fn what_the_pointer_says_is_served_again_when_it_ends() {
        let world = World::new(&Limits::default()).await;
        let (place, next) = two_versions(&world).await;
        let before = place.current().unwrap();
        let first = world.live.serve_first(&place, Arc::clone(&next)).unwrap();
        assert!(Arc::ptr_eq(&place.current().unwrap(), &next));
        assert!(Arc::ptr_eq(&place.pointed().unwrap(), &before), "it is what the pointer says");
        drop(first);
        assert!(Arc::ptr_eq(&place.current().unwrap(), &before));
        // Pages of the withdrawn candidate still find their assets (law 10).
        assert!(place.loaded(&next.version.id).is_some());
    }

    #[tokio::test]
    async fn a_pointer_that_moves_meanwhile_decides() {
        let world = World::new(&Limits::default()).await;
        let (place, next) = two_versions(&world).await;
        let before = place.current().unwrap().version.id;
        let first = world.live.serve_first(&place, next).unwrap();
        let three = world.store("shop", "three", 0, json!({})).await;
        world.switch("shop", "prod", three, Some(before)).await;
        assert_eq!(place.current().unwrap().version.id, three);
        assert!(!first.is_served());
        drop(first);
        assert_eq!(place.current().unwrap().version.id, three);
    }

    #[tokio::test]
    async fn the_end_of_one_leaves_another_one_ahead() {
        let world = World::new(&Limits::default()).await;
        let (place, next) = two_versions(&world).await;
        let before = place.current().unwrap();
        let first = world.live.serve_first(&place, Arc::clone(&next)).unwrap();
        // The pointer is written again with the same content.
        world.switch("shop", "prod", before.version.id, None).await;
        let again = Current::new(Arc::clone(&next.version), 0, Arc::clone(&next.withdrawn), next.settings.clone());
        let second = world.live.serve_first(&place, Arc::new(again)).unwrap();
        drop(first);
        assert!(second.is_served());
        assert_eq!(place.current().unwrap().version.id, next.version.id);
        drop(second);
        assert_eq!(place.current().unwrap().version.id, before.version.id);
    }

    #[tokio::test]
    async fn what_is_not_signed_is_served_first_no_longer_once_signatures_are_wanted() {
        let world = World::new(&Limits::default()).await;
        let (place, next) = two_versions(&world).await;
        let before = place.current().unwrap();
        let first = world.live.serve_first(&place, Arc::clone(&next)).unwrap();
        world.want_signatures("shop", "prod").await;
        assert!(!first.is_served());
        drop(first);
        assert!(Arc::ptr_eq(&place.current().unwrap(), &before), "what is live stays");
        assert!(place.loaded(&next.version.id).is_none(), "its assets answer no longer either");
    }

    #[tokio::test]
    async fn a_version_that_is_kept_is_what_the_pointer_then_says() {
        let world = World::new(&Limits::default()).await;
        let (place, next) = two_versions(&world).await;
        let before = place.current().unwrap().version.id;
        world.live.serve_first(&place, Arc::clone(&next)).unwrap().keep();
        assert_eq!(place.current().unwrap().version.id, next.version.id);
        world.switch("shop", "prod", next.version.id, Some(before)).await;
        assert_eq!(place.pointed().unwrap().version.id, next.version.id);
    }
}
