//! The order in which the parts of an edge shut down.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::cluster::Joined;
use super::drain::{DrainControl, DrainHaste, DrainTimes, hasten};
use devanture_control::runner::Runner;
use devanture_serve::listen::{Drain, DrainOrder, drain_time};
use devanture_store::catalog;

/// Longest wait of the shutdown for the last lines of the access log.
const LOG_FLUSH_TIME_MAX: Duration = Duration::from_secs(1);
/// Time for closing upgraded connections at the end of a drain, at most a quarter of the drain.
const TUNNEL_CLOSE: Duration = Duration::from_secs(2);
/// Time for the predecessor, which has the same times, to end after its last connection.
const BEFORE_REST_MAX: Duration = Duration::from_secs(2);

/// Closes upgraded connections in time: such connections have the time of requests in flight, less the time for the
/// close.
async fn end_tunnels(mut drain: Drain, stop: CancellationToken) {
    let close_at = |order: &DrainOrder| {
        let left = order.tunnels.saturating_duration_since(Instant::now());
        order.tunnels - TUNNEL_CLOSE.min(left / 4)
    };
    drain_time(&mut drain, close_at).await;
    stop.cancel();
}

impl Server {
    /// Returns a handle to shorten the drain.
    #[must_use]
    pub fn drain_haste(&self) -> DrainHaste {
        self.drain.haste()
    }

    /// Accepts no more connections, answers requests in flight, completes accepted deploys, and ends. Returns the
    /// number of connections cut at the deadline.
    pub fn drain(mut self) -> usize {
        self.health.set_ready(false);
        self.loading.abort();
        let (times, now) = (self.drain.times(), Instant::now());
        let has_successor = self.handover.has_successor();
        self.publisher.end();
        let mut order = times.order(now, has_successor);
        self.handover.end();
        let runs = self.runner.clone().filter(Runner::has_runs).map(|runner| {
            order = order.at_least(now + runner.run_drain_time(times.runs));
            self.control.spawn(async move { runner.end_runs(times.runs).await })
        });
        self.drain.order.send_replace(Some(order));
        self.follow_drain(times, has_successor);
        // Otherwise a log reader in follow mode would delay the end up to the maximum. The reader has all entries until
        // now.
        self.access_log.flush(LOG_FLUSH_TIME_MAX);
        let passed_on = self.handover.end_log_readers(&self.access_log);
        if let Some(runner) = &self.runner {
            runner.end_log_readers();
        }
        let cut = std::mem::take(&mut self.threads).join();
        if let Some(runs) = runs {
            self.unless_at_once(runs);
        }
        self.wait_for_edge_before();
        // Until here other nodes waited for commits of the node.
        if let Some(cluster) = self.cluster.take() {
            self.unless_at_once(cluster.leave(times.requests));
        }
        self.unless_at_once(self.publisher.webhooks().end());
        self.prober.end();
        if let Some(runner) = &self.runner {
            let environments = self.publisher.environments();
            // Both have the same time from their SIGTERM on.
            self.unless_at_once(async {
                tokio::join!(environments.schedules.end_schedules(Duration::ZERO), runner.end(times.requests))
            });
        }
        if !has_successor {
            self.requests.write();
        }
        self.access_log.flush(LOG_FLUSH_TIME_MAX);
        if let Some(passed_on) = passed_on {
            self.access_log.end_readers();
            self.unless_at_once(async { timeout(LOG_FLUSH_TIME_MAX, passed_on).await });
        }
        self.upstream_keeper.end();
        // Checked now: a successor may have appeared since the begin of the drain. A successor that has the catalog but
        // does not serve yet has the last writes already, and binds the socket again.
        let is_taken = matches!(self.publisher.ledger().catalog.check_in_place(), Err(catalog::Error::HandedOver));
        if !is_taken && !self.handover.has_successor() {
            self.control.block_on(self.credentials.write_last_uses());
            self.control.block_on(self.publisher.uploads().write_sent());
            self.socket.remove();
        }
        // Remaining reads from disk have no reader, and are not awaited.
        self.control.shutdown_timeout(Duration::from_secs(1));
        cut
    }

    /// Starts the tasks that follow the drain order beside the threads.
    fn follow_drain(&self, times: DrainTimes, has_successor: bool) {
        let DrainControl { order, haste, sole, .. } = &self.drain;
        let before = self.handover.before().clone();
        if !has_successor {
            // No edge serves any more: the predecessor has no more time than the edge itself.
            before.end_sooner();
        }
        self.control.spawn(hasten(order.clone(), haste.clone(), times, before));
        self.control.spawn(end_tunnels(order.subscribe(), self.stop.clone()));
        if has_successor {
            sole.end();
            self.publisher.switcher().background.end();
            // Requests in flight after the deadline have a backend already, and no other node sends requests to the
            // process.
            let (mut drain, checks) = (order.subscribe(), self.upstream_keeper.stop());
            let in_cluster = self.cluster.as_ref().map(Joined::stop);
            self.control.spawn(async move {
                drain_time(&mut drain, |order| order.requests).await;
                checks.cancel();
                if let Some(in_cluster) = in_cluster {
                    in_cluster.cancel();
                }
            });
        }
    }

    /// Waits for the predecessor: messages from the successor for the predecessor pass through the edge.
    fn wait_for_edge_before(&self) {
        let mut drain = self.drain.subscribe();
        let late = async {
            drain_time(&mut drain, DrainOrder::last).await;
            sleep(BEFORE_REST_MAX).await;
        };
        let ended = async {
            tokio::select! {
                () = self.handover.before().ended() => {}
                () = late => {}
            }
        };
        self.unless_at_once(ended);
    }

    /// Waits for the end of `work`, unless the drain has to end at once.
    fn unless_at_once(&self, work: impl IntoFuture) {
        let work = work.into_future();
        self.control.block_on(async {
            tokio::select! {
                biased;
                _ = work => {}
                () = self.drain.haste.at_once() => {}
            }
        });
    }
}
