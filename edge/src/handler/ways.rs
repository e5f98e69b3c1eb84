//! The ways of loaded versions to their backends, made at the first request of each thread and dropped when none comes any
//! more: a version that was replaced stays loaded for its assets, and its backends are nobody's business then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::decide::WayNumber;
use crate::proxy::{PoolKey, Registry, Way};
use crate::version::Version;

/// How often ways are looked for that nobody went since the last look.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The ways that one thread has made. Must be used inside a `LocalSet`.
pub struct Ways {
    registry: Registry,
    made: Rc<RefCell<HashMap<(u64, WayNumber), Made>>>,
    is_swept: Rc<Cell<bool>>,
}

struct Made {
    way: Rc<Way>,
    is_used: Cell<bool>,
}

impl Ways {
    /// No way yet, to the pools of `registry`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, made: Rc::default(), is_swept: Rc::default() }
    }

    /// The way of that number, if the version has one.
    pub(super) fn way(&self, version: &Arc<Version>, number: WayNumber) -> Option<Rc<Way>> {
        let key = (version.serial, number);
        if let Some(made) = self.made.borrow().get(&key) {
            made.is_used.set(true);
            return Some(Rc::clone(&made.way));
        }
        let way = match number {
            WayNumber::Route(number) => {
                let route = version.routes.get(number)?;
                Way::new(&route.said, self.registry.pool(&PoolKey::of(version, route.upstream)?))
            }
            WayNumber::Upstream(number) => {
                // It may take as long as a route that leads to the same place.
                let route = version.routes.iter().find(|route| route.upstream == number);
                Way::plain(self.registry.pool(&PoolKey::of(version, number)?), route.map(|route| &route.said))
            }
        };
        let way = Rc::new(way);
        self.made.borrow_mut().insert(key, Made { way: Rc::clone(&way), is_used: Cell::new(true) });
        self.sweep_on();
        Some(way)
    }

    /// Drops what nobody uses, until there is none at all.
    fn sweep_on(&self) {
        if self.is_swept.replace(true) {
            return;
        }
        let (made, is_swept) = (Rc::downgrade(&self.made), Rc::clone(&self.is_swept));
        drop(tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                let Some(made) = made.upgrade() else { return };
                let mut made = made.borrow_mut();
                made.retain(|_, made| made.is_used.replace(false));
                if made.is_empty() {
                    is_swept.set(false);
                    return;
                }
            }
        }));
    }
}
