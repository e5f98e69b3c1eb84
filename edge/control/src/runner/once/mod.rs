//! Commands that run once for somebody who watches: in the folder of a version or a container of its image, with the
//! variables, the user and the limits of its instances, their input and output streamed.
//!
//! [`Runner::begin_once`] starts one; `session` carries its frames and ends it: by the client, by its time, by the
//! edge. `under_way` counts them, so that a drain waits for them.

mod session;
mod under_way;

use std::sync::Arc;
use std::time::Duration;

use devanture_config::api::{RunRequest, TerminalSize};
use devanture_config::problem::Problem;
use tokio::time::Instant;

use super::data::hold::{DataUser, Use};
use super::error::Error;
use super::group::SetUp;
use super::handle::Runner;
use super::handover::handed::Contained;
use super::persisted::{Excess, Place};
use super::program::Program;
use super::request::Wanted;
use super::shared::{Shared, ms};
use devanture_host::spawner::{Attached, Launch, Running, SpawnError, Temporary, WindowSize};
use under_way::Guard;

pub use session::{EndedBy, FrameSender, FrameSource};
pub(super) use under_way::UnderWay;

/// A command that was started.
pub struct Once {
    shared: Arc<Shared>,
    running: Running,
    begun: Instant,
    time_max: Duration,
    has_terminal: bool,
    /// What may fill the disk is measured.
    is_measured: bool,
    /// What its environment kept too much of when it began.
    excess: Option<Excess>,
    wanted: Wanted,
    /// Whose data it uses.
    place: Place,
    temporary: Temporary,
    /// Its container, where the backend is an image.
    container: Option<Contained>,
    /// Its user and its folder, until nothing of it runs.
    set_up: SetUp,
    /// Its use of the data of its environment.
    _user: DataUser,
    under_way: Guard,
}

/// Has a drain wait for what is still to be done about a command that has ended.
pub struct EndedRun(#[expect(dead_code, reason = "held until it is dropped")] Guard);

impl Runner {
    /// Starts a command in the folder of a backend, or in a container of its image. Everything of it ends with what is
    /// given. Until it is started, which may take as long as an image is fetched, `ended_by` keeps it from that.
    ///
    /// # Errors
    /// [`Error::Restarting`] while the edge ends; what keeps it from being set up or started. The problem of `ended_by`
    /// where that comes first.
    pub async fn begin_once(
        &self,
        wanted: Wanted,
        request: &RunRequest,
        ended_by: &mut EndedBy,
    ) -> Result<Result<Once, Problem>, Error> {
        let shared = &self.0;
        let place = (wanted.app.clone(), shared.settings_place(&wanted));
        let under_way = shared.runs.begin().ok_or(Error::Restarting)?;
        let user = shared.use_data(place.clone(), Use::Command).await?;
        let server = &wanted.managed.server;
        let is_measured = shared.is_measured(server, &place.0, &place.1);
        let excess = if is_measured { shared.excess(&place).await? } else { None };
        let id = wanted.run();
        let set_up = unless_ended(ended_by, shared.set_up(&id, &wanted.version, server, &place.1)).await;
        let set_up = match set_up {
            Ok(Ok(set_up)) => set_up,
            Ok(Err(error)) => {
                shared.folders.tidy(&wanted.app).await;
                return Err(error);
            }
            Err(problem) => {
                shared.folders.tidy(&wanted.app).await;
                return Ok(Err(problem));
            }
        };
        let temporary = Shared::temporary(&set_up.temporary);
        let name = format!("run.{}", under_way.number());
        let (launch, container) = shared.once_launch(&wanted, &set_up, (&name, request), &temporary)?;
        let attached = Attached { terminal: request.terminal.map(window_size) };
        let begun = Instant::now();
        let running = shared.spawner.launch_attached(launch, attached).await;
        let running = running.map_err(|error| match error {
            SpawnError::NoTerminalLeft => Error::NoTerminalLeft,
            error => Error::Spawn(error.to_string()),
        })?;
        let time_max = self.once_time(request.timeout_ms);
        Ok(Ok(Once {
            shared: Arc::clone(shared),
            running,
            begun,
            time_max,
            has_terminal: request.terminal.is_some(),
            is_measured,
            excess,
            wanted,
            place,
            temporary,
            container,
            set_up,
            _user: user,
            under_way,
        }))
    }

    /// The time that a command has which wants so many milliseconds.
    #[must_use]
    pub fn once_time(&self, wanted_ms: Option<u64>) -> Duration {
        let max = self.0.limits.run_ms_max;
        ms(wanted_ms.map_or(max, |wanted| wanted.min(max)))
    }

    /// Runs what carries a command to its end, also after the caller was dropped.
    pub fn spawn_once(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(work);
    }

    /// Whether commands are under way.
    #[must_use]
    pub fn has_runs(&self) -> bool {
        self.0.runs.count() > 0
    }

    /// Longest time of [`Self::end_runs`], of which `within` is left to commands that end by themselves.
    #[must_use]
    pub fn run_drain_time(&self, within: Duration) -> Duration {
        within + ms(self.0.limits.run_stop_ms) + session::LAST_OUTPUT_MAX
    }

    /// Lets no command begin any more, gives those that run so much time, ends them then, and waits until all have
    /// ended. [`Runner::resume`] takes it back.
    pub async fn end_runs(&self, within: Duration) {
        self.0.runs.end(Instant::now() + within);
        let late = self.run_drain_time(within);
        tokio::time::timeout(late, self.0.runs.none()).await.ok();
    }
}

/// The outcome of `work`, which is dropped where the command may not go on before it has ended.
async fn unless_ended<T>(ended_by: &mut EndedBy, work: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::select! {
        biased;
        problem = ended_by => Err(problem),
        done = work => Ok(done),
    }
}

fn window_size(size: TerminalSize) -> WindowSize {
    WindowSize { rows: size.rows, columns: size.columns }
}

impl Shared {
    fn once_launch(
        &self,
        wanted: &Wanted,
        set_up: &SetUp,
        (name, request): (&str, &RunRequest),
        temporary: &Temporary,
    ) -> Result<(Launch, Option<Contained>), Error> {
        let program = Program {
            app: &wanted.app,
            place: &wanted.place,
            version: &wanted.version,
            name,
            serial: format!("{:08x}", rand::random::<u32>()),
            command: request.command.clone(),
            endpoint: None,
            folder: None,
            temporary,
            client: Some(request),
        };
        self.launch_of(set_up, &wanted.managed.server, program)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use devanture_config::problem::Code;

    use super::*;

    #[tokio::test]
    async fn a_command_that_may_not_go_on_is_set_up_no_further() {
        let over = || -> EndedBy { Box::pin(ready(Problem::new(Code::RunEnded, "The token was revoked."))) };
        let ended = unless_ended(&mut over(), pending::<()>()).await;
        assert_eq!(ended.unwrap_err().code, Code::RunEnded);
        assert!(unless_ended(&mut over(), ready(())).await.is_err(), "also where nothing is waited for");
        let mut going_on: EndedBy = Box::pin(pending());
        assert_eq!(unless_ended(&mut going_on, ready(1)).await.ok(), Some(1));
    }
}
