//! A budget of sockets to backends: files, visitors and the API have descriptors left, and one app leaves some to the
//! others, whatever its backends and its visitors do.

use std::collections::HashMap;
use std::sync::Arc;

use devanture_config::AppName;
use parking_lot::Mutex;

/// An app may have so many times as many sockets as are free.
const SHARE: usize = 3;
/// The last of all sockets, one of so many, are for apps …
const LAST: usize = 16;
/// … that have fewer than this.
const FEW: usize = 5;

/// The sockets to backends that are open, of all apps. Cheap to clone.
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

/// The place of one socket, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    shared: Arc<Shared>,
    app: AppName,
}

impl Sockets {
    /// Room for `max` sockets.
    pub(super) fn new(max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Self(Arc::new(Shared { max, open: Mutex::default() }))
    }

    /// A place for one more socket of `app`, as long as it has fewer than [`SHARE`] times those that are free: alone it
    /// gets three quarters of all, and whatever others have, some stay free for those who come next. However many
    /// others there are, the last sixteenth is left to apps that have few.
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

    /// As many as the app gets.
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
