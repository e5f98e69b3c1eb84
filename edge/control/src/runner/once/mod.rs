//! Interactive one-off commands: run in the folder of a version or a container of its image, with variables, user and
//! limits of its instances, and streamed input and output.
//!
//! [`Runner::begin_once`] starts a command; `session` transfers its frames and ends the command: by the client, by
//! timeout, by the edge. `under_way` counts running commands, so that a drain waits for their end.

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
use super::request::BackendSpec;
use super::shared::{Shared, ms};
use devanture_host::spawner::{Attached, Launch, Running, SpawnError, Temporary, WindowSize};
use under_way::Guard;

pub use session::{EndedBy, FrameSender, FrameSource};
pub(super) use under_way::UnderWay;

/// Started command.
pub struct Once {
    shared: Arc<Shared>,
    running: Running,
    begun: Instant,
    time_max: Duration,
    has_terminal: bool,
    /// True if disk usage is measured.
    is_measured: bool,
    /// Excess of the environment's storage at the beginning.
    excess: Option<Excess>,
    wanted: BackendSpec,
    /// Environment whose data is used.
    place: Place,
    temporary: Temporary,
    /// Container, for an image backend.
    container: Option<Contained>,
    /// User and folder, held until no process is left.
    set_up: SetUp,
    /// Registration as a user of the environment's data.
    _user: DataUser,
    under_way: Guard,
}

/// Makes a drain wait for the cleanup after a command.
pub struct EndedRun(#[expect(dead_code, reason = "held until it is dropped")] Guard);

impl Runner {
    /// Starts a command in the folder of a backend, or in a container of its image. Dropping the result ends all its
    /// processes. Until the start, which may wait for the pull of an image, `ended_by` cancels the command.
    ///
    /// # Errors
    /// [`Error::Restarting`] while the edge stops; errors of the set-up and start. The problem of `ended_by`, if
    /// earlier.
    pub async fn begin_once(
        &self,
        wanted: BackendSpec,
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

    /// Returns the time limit of a command with the requested milliseconds.
    #[must_use]
    pub fn once_time(&self, wanted_ms: Option<u64>) -> Duration {
        let max = self.0.limits.run_ms_max;
        ms(wanted_ms.map_or(max, |wanted| wanted.min(max)))
    }

    /// Spawns the task that runs a command to its end, even after the caller is dropped.
    pub fn spawn_once(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.runtime.spawn(work);
    }

    /// Returns true while commands are running.
    #[must_use]
    pub fn has_runs(&self) -> bool {
        self.0.runs.count() > 0
    }

    /// Returns the longest duration of [`Self::end_runs`], including `within` for commands that end on their own.
    #[must_use]
    pub fn run_drain_time(&self, within: Duration) -> Duration {
        within + ms(self.0.limits.run_stop_ms) + session::LAST_OUTPUT_MAX
    }

    /// Blocks new commands, gives running commands the time `within`, then ends these, and waits for all.
    /// [`Runner::resume`] undoes the block.
    pub async fn end_runs(&self, within: Duration) {
        self.0.runs.end(Instant::now() + within);
        let late = self.run_drain_time(within);
        tokio::time::timeout(late, self.0.runs.none()).await.ok();
    }
}

/// Returns the outcome of `work`, or the problem of `ended_by`, which drops the work.
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
        wanted: &BackendSpec,
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
