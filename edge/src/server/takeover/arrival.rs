//! A start, alone or beside a running edge: the time of opening the stores, and inherited state.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::before::PredecessorHandle;
use super::inherited::{FREE_TIME_MAX, Inherited};
use super::successor::Successor;
use crate::server::data_rights;
use crate::server::error::StartError;
use crate::server::stores::{StorePlan, Stores};
use devanture_base::telemetry::AccessLog;
use devanture_control::publish::CountedPushes;
use devanture_control::runner::{Handover, Runner};
use devanture_serve::live::Live;
use devanture_store::catalog::{Catalog, Committed};

/// Longest wait of an edge alone for the load of versions: with few apps, the time suffices for all. Beside a running
/// edge, the same wait for versions replaced within the grace period.
const LOAD_TIME_MAX: Duration = Duration::from_millis(500);
/// Longest wait for the live versions beside a running edge, which serves meanwhile and refuses changes.
const LOAD_TIME_MAX_BESIDE: Duration = Duration::from_secs(60);

/// A start in progress.
pub(crate) enum Arrival {
    /// No edge runs. The stores are opened first: the catalog's lock keeps a second edge out of the whole folder.
    Alone(Option<Box<Stores>>, Inherited),
    /// An edge runs. The catalog is opened as late as possible: until the successor serves, the running edge refuses
    /// changes.
    Beside(Successor, Inherited, Option<Receiver<Committed>>),
}

impl Arrival {
    /// Finds the running edge, or opens the stores.
    ///
    /// # Errors
    /// Errors of the stores, and [`StartError::TakeOver`].
    pub(crate) fn begin(plan: &StorePlan, runtime: &Runtime) -> Result<Self, StartError> {
        data_rights::warn(plan.data_dir());
        Ok(match Successor::find(plan.data_dir())? {
            (Some(successor), inherited) => Self::Beside(successor, inherited, None),
            (None, inherited) => {
                let stores = Stores::open_to_serve(plan, runtime.handle(), inherited.lock_time())?;
                Self::Alone(Some(Box::new(stores)), inherited)
            }
        })
    }

    /// Returns the stores; a running edge releases the catalog first.
    ///
    /// # Errors
    /// As [`Arrival::begin`].
    pub(crate) fn stores(&mut self, plan: &StorePlan, runtime: &Runtime) -> Result<Stores, StartError> {
        let runtime = runtime.handle();
        match self {
            Self::Alone(stores, inherited) => {
                let open = || Stores::open_to_serve(plan, runtime, inherited.lock_time());
                stores.take().map_or_else(open, |stores| Ok(*stores))
            }
            Self::Beside(successor, _, commits) => {
                successor.take_catalog()?;
                // If the running edge was killed meanwhile, the lock is released at its very end.
                let stores = Stores::open_to_serve(plan, runtime, FREE_TIME_MAX)?;
                *commits = Some(stores.catalog.watch());
                Ok(stores)
            }
        }
    }

    /// Waits for loads before the edge serves: beside a running edge, which serves meanwhile, for all live versions;
    /// and then, as without a running edge, a short time for the rest.
    pub(crate) async fn wait_loaded(&self, live: &Live) {
        if let Self::Beside(successor, ..) = self {
            tokio::select! {
                _ = timeout(LOAD_TIME_MAX_BESIDE, live.loaded_live()) => {}
                // No edge serves any more: requests wait for versions not loaded yet.
                () = successor.lost() => tracing::warn!(
                    pid = successor.pid(),
                    "the running edge is gone: this one serves before all that is live is loaded"
                ),
            }
        }
        timeout(LOAD_TIME_MAX, live.loaded()).await.ok();
    }

    /// Checks that the running edge serves no version that the new edge failed to load until now.
    ///
    /// # Errors
    /// [`StartError::Lacking`], unless it `is_forced`, and [`StartError::TakeOver`].
    pub(crate) fn check_served(&mut self, live: &Live, is_forced: bool) -> Result<(), StartError> {
        let Self::Beside(successor, ..) = self else { return Ok(()) };
        let lacking = live.lacking();
        if lacking.is_empty() {
            return Ok(());
        }
        let Some(served) = successor.served_of(lacking)? else { return Ok(()) };
        match StartError::lacking(successor.pid(), &served) {
            Some(StartError::Lacking { pid, lost }) if is_forced => {
                tracing::warn!(
                    pid,
                    lost,
                    "this edge takes over without what the running one serves, as `take_over_damaged` says"
                );
                Ok(())
            }
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Returns the sockets of the running edge.
    pub(crate) fn inherited(&mut self) -> &mut Inherited {
        match self {
            Self::Alone(_, inherited) | Self::Beside(_, inherited, _) => inherited,
        }
    }

    /// Takes over the instances of the running edge, which are suspended from here on.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn instances(&mut self) -> Result<Option<Handover>, StartError> {
        match self {
            Self::Alone(..) => Ok(None),
            Self::Beside(successor, ..) => successor.take_instances(),
        }
    }

    /// Returns the pushes of the last hour counted by the running edge.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn counted_pushes(&mut self) -> Result<Vec<CountedPushes>, StartError> {
        match self {
            Self::Alone(..) => Ok(Vec::new()),
            Self::Beside(successor, ..) => successor.counted_pushes(),
        }
    }

    /// Reports to the running edge that the successor serves, and returns the predecessor until the end of its drain.
    ///
    /// # Errors
    /// [`StartError::TakeOver`].
    pub(crate) fn serve(
        self,
        control: &Runtime,
        catalog: &Arc<dyn Catalog>,
        runner: Option<&Runner>,
        access_log: &AccessLog,
    ) -> Result<PredecessorHandle, StartError> {
        match self {
            Self::Alone(..) => Ok(PredecessorHandle::none()),
            Self::Beside(successor, _, commits) => {
                let commits = commits.unwrap_or_else(|| catalog.watch());
                successor.serve(control, commits, catalog, runner, access_log)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use devanture_serve::live::{Domains, Grace};

    /// Creates the state of live versions before any load.
    fn loading() -> Live {
        let domain = || "localhost".parse().unwrap();
        let live = Live::new(Domains::new(domain(), domain()), Grace { ms: 0, versions_max: 0 });
        live.set_loading(true);
        live
    }

    fn beside(stream: UnixStream) -> Arrival {
        Arrival::Beside(Successor::over(stream), Inherited::default(), None)
    }

    #[tokio::test]
    async fn a_start_beside_a_running_edge_waits_for_what_is_live_until_that_edge_is_gone() {
        let live = loading();
        let (near, far) = UnixStream::pair().unwrap();
        let arrival = beside(near);
        assert!(timeout(LOAD_TIME_MAX * 2, arrival.wait_loaded(&live)).await.is_err(), "the other one serves");
        drop(far);
        timeout(LOAD_TIME_MAX_BESIDE / 2, arrival.wait_loaded(&live)).await.unwrap();
    }

    #[tokio::test]
    async fn a_start_beside_a_running_edge_goes_on_once_what_is_live_is_loaded() {
        let live = loading();
        let (near, _far) = UnixStream::pair().unwrap();
        let arrival = beside(near);
        live.set_loading(false);
        timeout(LOAD_TIME_MAX_BESIDE / 2, arrival.wait_loaded(&live)).await.unwrap();
    }
}
