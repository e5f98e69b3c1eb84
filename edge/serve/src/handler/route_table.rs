//! The ways of loaded versions to their backends, made at the first request of each thread and dropped when none comes
//! any more: a version that was replaced stays loaded for its assets, and its backends are nobody's business then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use devanture_site::decide::Backend;

use crate::live::Current;
use crate::proxy::{CompiledRoute, MemberState, Registry};

/// Interval of the search for ways that were not used since the last one.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The ways that one thread has made. Must be used inside a `LocalSet`.
pub struct RouteTable {
    registry: Registry,
    made: Rc<RefCell<HashMap<Key, Made>>>,
    is_swept: Rc<Cell<bool>>,
}

/// A loaded version, the revision of the settings that its own backend runs with, and the number of the way. The
/// revision counts for that backend alone: a request sees one version, and one set of its settings (law 1).
type Key = (u64, u64, Backend);

struct Made {
    way: Rc<CompiledRoute>,
    is_used: Cell<bool>,
}

impl RouteTable {
    /// No way yet, to the pools of `registry`.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, made: Rc::default(), is_swept: Rc::default() }
    }

    /// The way of that number, if the version has one.
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
                // It may take as long as a route that leads to the same place.
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

    /// Whether every pool that a route of the version leads to has a member that takes requests.
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

    /// The revision of the settings that pools of the version depend on.
    fn settings_of(current: &Current) -> u64 {
        if current.version.managed.is_some() { current.settings.load().revision } else { 0 }
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
