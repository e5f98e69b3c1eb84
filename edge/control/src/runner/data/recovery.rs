//! Completes an interrupted replacement of data, before any process of its environment runs again.
//!
//! An empty folder owned by the edge marks a running replacement: files written by tenants prove nothing.

use std::sync::Arc;

use devanture_config::api::DataReport;
use devanture_config::problem::Code;

use super::hold::{DataUser, Turn, Use};
use crate::runner::error::Error;
use crate::runner::handle::Runner;
use crate::runner::persisted::Place;
use crate::runner::shared::Shared;
use devanture_base::durable;
use devanture_host::data_task::Work;

impl Shared {
    /// Registers a process of an environment, once its data is consistent.
    ///
    /// # Errors
    /// [`Error::DataReplaced`]; [`Error::DataBusy`] and [`Error::Data`] while the data is inconsistent.
    pub(in crate::runner) async fn use_data(self: &Arc<Self>, place: Place, kind: Use) -> Result<DataUser, Error> {
        if self.is_cut_off(&place) {
            self.data_use.check(&place.0, &place.1)?;
            let turn = self.data_turn(&place).await?;
            self.make_whole(&place, &turn).await?;
        }
        self.data_use.enter(place, kind)
    }

    /// Completes an interrupted replacement, with no process of the environment running.
    pub(super) async fn make_whole(self: &Arc<Self>, place: &Place, turn: &Arc<Turn>) -> Result<(), Error> {
        if !self.is_cut_off(place) {
            return Ok(());
        }
        let _hold = self.hold_data(place.clone()).await?;
        self.recover(place, turn).await
    }

    fn is_cut_off(&self, (app, environment): &Place) -> bool {
        std::fs::symlink_metadata(self.folders.replacing(app, environment)).is_ok()
    }

    /// Completes an interrupted replacement; the caller holds the data.
    pub(super) async fn recover(self: &Arc<Self>, place: &Place, turn: &Arc<Turn>) -> Result<(), Error> {
        let task = Runner(Arc::clone(self)).begin_task((&place.0, &place.1), Work::Recover, turn).await;
        let recovered = match task {
            Ok(task) => task.answer::<DataReport>().await,
            Err(error) => Err(error),
        };
        match recovered {
            // Missing data needs no recovery.
            Ok(_) | Err(Error::NoData(_) | Error::Data { code: Code::NotFound, .. }) => self.end_replacing(place),
            Err(error) => Err(error),
        }
    }

    pub(super) fn begin_replacing(&self, (app, environment): &Place) -> Result<(), Error> {
        Ok(durable::make_folder(&self.folders.replacing(app, environment))?)
    }

    pub(super) fn end_replacing(&self, (app, environment): &Place) -> Result<(), Error> {
        durable::remove_folder(&self.folders.replacing(app, environment))?;
        Ok(())
    }
}
