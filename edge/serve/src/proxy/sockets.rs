//! A budget of sockets to backends: files, visitors and the API keep descriptors, and each app leaves sockets to the
//! other apps, however many backends and visitors the app has.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::AppName;
use parking_lot::Mutex;

/// Maximum of an app's sockets, as a multiple of the free sockets.
const SHARE: usize = 3;
/// Divisor of the reserve: the last part of all sockets is reserved for apps …
const LAST: usize = 16;
/// … with fewer sockets than `FEW`.
const FEW: usize = 5;

/// The open sockets to backends, of all apps. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sockets(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_app: HashMap<AppName, usize>,
}

/// The slot of one socket, released on drop.
#[derive(Debug)]
pub(crate) struct Socket {
    shared: Arc<Shared>,
    app: AppName,
}

impl Sockets {
    /// Creates a budget of `max` sockets.
    pub(super) fn new(max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Self(Arc::new(Shared { max, open: Mutex::default() }))
    }

    /// Takes a slot for a socket of `app`, if the app has fewer than [`SHARE`] times the free sockets: a single app
    /// gets three quarters of all sockets, and some sockets stay free for newcomers, whatever the other apps have. In
    /// any case, the last sixteenth is left to apps with few sockets.
    pub(crate) fn take(&self, app: &AppName) -> Option<Socket> {
        let mut open = self.0.open.lock();
        let own = open.by_app.get(app).copied().unwrap_or(0);
        let free = self.0.max.saturating_sub(open.total);
        if own >= free.saturating_mul(SHARE) || (own >= FEW && free <= self.0.max / LAST) {
            return None;
        }
        open.total += 1;
        match open.by_app.get_mut(app) {
            Some(own) => *own += 1,
            None => drop(open.by_app.insert(app.clone(), 1)),
        }
        Some(Socket { shared: Arc::clone(&self.0), app: app.clone() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(own) = open.by_app.get_mut(&self.app) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_app.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many sockets as the app gets.
    fn taken(sockets: &Sockets, app: &str) -> Vec<Socket> {
        let app: AppName = app.parse().unwrap();
        std::iter::from_fn(|| sockets.take(&app)).take(1_000).collect()
    }

    #[test]
    fn law_11_an_app_leaves_sockets_to_those_who_come_after_it() {
        let sockets = Sockets::new(100);
        let first = taken(&sockets, "first");
        let second = taken(&sockets, "second");
        let third = taken(&sockets, "third");
        assert_eq!((first.len(), second.len(), third.len()), (75, 19, 5));
        drop(first);
        assert_eq!(taken(&sockets, "fourth").len(), 57);
    }

    #[test]
    fn law_11_however_many_apps_have_slow_backends_the_next_one_gets_some_sockets() {
        let sockets = Sockets::new(5_000);
        let slow: Vec<Vec<Socket>> = (0..60).map(|number| taken(&sockets, &format!("slow-{number}"))).collect();
        assert!(slow.iter().all(|taken| taken.len() >= FEW));
        assert!(taken(&sockets, "next").len() >= FEW);
    }

    #[test]
    fn what_was_given_back_is_there_again() {
        let sockets = Sockets::new(4);
        for _ in 0..10 {
            assert_eq!(taken(&sockets, "shop").len(), 3);
        }
        assert!(sockets.0.open.lock().by_app.is_empty());
        assert_eq!(taken(&Sockets::new(1), "shop").len(), 1);
    }
}
