//! The open connections of one listener on one thread, and their end during a drain.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::activity::Activity;
use super::draining::{Drain, DrainOrder, Drained, changed, drain_time, order_of};
use super::limits::Tally;
use devanture_http::{Cause, Kinds, UnderWay};

/// Longest wait for the ends of event streams after their deadline.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// The open connections, which are notified of the drain, and cut at its end.
#[derive(Default)]
pub(super) struct OpenConnections {
    table: Rc<Table>,
    tally: Arc<Tally>,
    number: Cell<u64>,
    /// Connections below this number are to end, or have ended.
    kept_from: Cell<u64>,
}

/// Connections with requests: an upgraded connection leaves the table.
#[derive(Default)]
struct Table {
    /// By number, the oldest first.
    connections: RefCell<BTreeMap<u64, (Rc<Activity>, AbortHandle)>>,
    emptied: Notify,
}

impl Table {
    /// Waits until the table is empty.
    async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections.borrow().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// Guard that removes a connection from the table, however its task ends.
struct TableGuard {
    table: Rc<Table>,
    number: u64,
}

impl Drop for TableGuard {
    fn drop(&mut self) {
        drop(self.table.connections.borrow_mut().remove(&self.number));
        if self.table.connections.borrow().is_empty() {
            self.table.emptied.notify_waiters();
        }
    }
}

impl OpenConnections {
    /// Returns the count of all connections, including upgraded connections.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Serves a connection in a separate task.
    pub(super) fn spawn(&self, activity: Rc<Activity>, connection: impl Future<Output = ()> + 'static) {
        let number = self.number.get() + 1;
        self.number.set(number);
        let listed = TableGuard { table: Rc::clone(&self.table), number };
        // Not an `async` block with an `await`: such a block would reserve space for the future twice, on each
        // connection.
        let task = tokio::task::spawn_local(connection.map(move |()| drop(listed)));
        self.table.connections.borrow_mut().insert(number, (activity, task.abort_handle()));
    }

    /// Ends the oldest connection not ending yet, as soon as no request is in flight: an idle connection at once, or a
    /// moment later over HTTP/1.1, because a request may be on its way.
    pub(super) fn end_oldest(&self) {
        let connections = self.table.connections.borrow();
        if let Some((number, (activity, _))) = connections.range(self.kept_from.get()..).next() {
            self.kept_from.set(number.saturating_add(1));
            activity.drain(true);
        }
    }

    /// Drains all connections by the current order in `drain`. Upgraded connections end on their own, or at their
    /// deadline, and do not prolong the wait for requests.
    pub(super) async fn drain(&self, mut drain: Drain) -> Drained {
        let has_successor = order_of(&mut drain).is_some_and(|order| order.has_successor);
        for (activity, _) in self.table.connections.borrow().values() {
            activity.drain(has_successor);
        }
        // Each driver reports the requests in flight, even if the deadline has passed.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let (mut cut, mut over) = (0, Kinds::NONE);
        loop {
            let order = order_of(&mut drain).unwrap_or_else(|| DrainOrder::until(Instant::now()));
            let Some((time, over_then)) = order.next_turn(over) else { break };
            tokio::select! {
                biased;
                () = self.table.empty() => break,
                () = changed(&mut drain) => {}
                () = sleep_until(time) => {
                    cut += self.cut(over_then).await;
                    over = over_then;
                }
            }
        }
        // Event streams are about to end.
        drop(timeout(FAREWELL_MAX, self.table.empty()).await);
        let all = self.table.connections.borrow().keys().copied().collect();
        cut += self.abort(all).await;
        tokio::select! {
            biased;
            () = self.tally.empty() => {}
            () = drain_time(&mut drain, |order| order.tunnels) => {}
        }
        Drained { cut: cut + self.tally.open() }
    }

    /// Cuts connections on which only requests of the kinds `over` are in flight, and returns their number. On other
    /// connections, HTTP/2 and HTTP/3 end the streams of these kinds. An event stream is ended in order, and the
    /// connection then ends on its own.
    async fn cut(&self, over: Kinds) -> usize {
        let mut cut = Vec::new();
        for (number, (activity, _)) in &*self.table.connections.borrow() {
            let under_way = activity.under_way();
            let under_way = if under_way.is_empty() { UnderWay::Request.into() } else { under_way };
            let ends_by_itself = under_way.has(UnderWay::EventStream);
            if under_way.without(over).is_empty() && !ends_by_itself {
                cut.push(*number);
            } else if under_way.without(over) != under_way {
                activity.cut(over);
            }
        }
        self.abort(cut).await
    }

    /// Cuts the given connections. The tasks are dropped before the return, and their sockets too.
    async fn abort(&self, numbers: Vec<u64>) -> usize {
        // Lasts a few polls of the thread: closes by peers meanwhile are also attributed to the drain.
        let _ending = Cause::Drain.begin();
        for (_, task) in numbers.iter().filter_map(|number| Some(self.table.connections.borrow().get(number)?.clone()))
        {
            task.abort();
        }
        while numbers.iter().any(|number| self.table.connections.borrow().contains_key(number)) {
            tokio::task::yield_now().await;
        }
        numbers.len()
    }
}
