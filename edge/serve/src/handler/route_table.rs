//! Routes of loaded versions to their backends, compiled at the first request of each thread and dropped once idle: a
//! replaced version stays loaded for its assets, and must not keep its backends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use devanture_site::decide::Backend;

use crate::live::Current;
use crate::proxy::{CompiledRoute, MemberState, Registry};

/// Interval of the search for routes not used since the previous search.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Routes that one thread has compiled. Must be used inside a `LocalSet`.
pub struct RouteTable {
    registry: Registry,
    made: Rc<RefCell<HashMap<Key, Made>>>,
    is_swept: Rc<Cell<bool>>,
}

/// Loaded version, revision of the settings of its own backend, and number of the route. The revision counts for the
/// own backend alone: a request sees one version and one set of settings (law 1).
type Key = (u64, u64, Backend);

struct Made {
    way: Rc<CompiledRoute>,
    is_used: Cell<bool>,
}

impl RouteTable {
    /// An empty table, on the pools of `registry`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, made: Rc::default(), is_swept: Rc::default() }
    }

    /// The route of `number`, if the version has the route.
    pub(super) fn way(&self, current: &Current, number: Backend) -> Option<Rc<CompiledRoute>> {
        let version = &current.version;
        let settings = Self::settings_of(current);
        let key = (version.serial, settings, number);
        if let Some(made) = self.made.borrow().get(&key) {
            made.is_used.set(true);
            return Some(Rc::clone(&made.way));
        }
        let way = match number {
            Backend::Route(number) => {
                let route = version.routes.get(number)?;
                CompiledRoute::new(&route.declared, self.registry.pool_of(version, route.upstream, settings)?)
            }
            Backend::Upstream(number) => {
                // The time limit of a route to the same target applies.
                let route = version.routes.iter().find(|route| route.upstream == number);
                CompiledRoute::plain(
                    self.registry.pool_of(version, number, settings)?,
                    route.map(|route| &route.declared),
                )
            }
        };
        let way = Rc::new(way);
        self.made.borrow_mut().insert(key, Made { way: Rc::clone(&way), is_used: Cell::new(true) });
        self.sweep_on();
        Some(way)
    }

    /// Returns true if every pool that a route of the version leads to has a member that accepts requests.
    pub(super) fn are_up(&self, current: &Current) -> bool {
        let version = &current.version;
        let settings = Self::settings_of(current);
        let mut numbers: Vec<usize> = version.routes.iter().map(|route| route.upstream).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.into_iter().all(|number| {
            let pool = self.registry.pool_of(version, number, settings);
            pool.is_some_and(|pool| pool.members().iter().any(|member| member.state() == MemberState::Up))
        })
    }

    /// Revision of the settings that the version's pools depend on.
    fn settings_of(current: &Current) -> u64 {
        if current.version.managed.is_some() { current.settings.load().revision } else { 0 }
    }

    /// Drops idle routes until the table is empty.
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
