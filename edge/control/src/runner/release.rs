//! One-off commands of a backend, in its folder with its variables: `release`, before the switch to its instances.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::data::hold::Use;
use super::error::{ERROR_LINES_MAX, Error};
use super::program::Program;
use super::request::BackendSpec;
use super::shared::{Report, Shared, ms};
use devanture_base::clock;
use devanture_host::output::{Line, LineStream, Splitter};
use devanture_host::spawner::{Exit, Happened, Running, Signaller, Stream};

/// Name of its log lines.
const NAME: &str = "release.1";

/// One-off command.
pub(super) struct OneOff {
    /// Name of its log lines.
    pub(super) name: String,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    /// Time limit.
    pub(super) time_max: Duration,
    /// Ends the command early: like an instance …
    pub(super) stop: CancellationToken,
    /// … or at once.
    pub(super) kill: CancellationToken,
}

/// Waits for the end of a command and of its output. Once `over`, requests the end, with the time limit of an
/// instance's end.
async fn ended(
    read: impl Future<Output = Exit>,
    over: impl Future<Output = Result<Option<Exit>, Error>>,
    signaller: &Signaller,
    stop_time: Duration,
) -> Result<Option<Exit>, Error> {
    let mut read = pin!(read);
    let why = tokio::select! {
        exit = &mut read => return Ok(Some(exit)),
        why = over => why,
    };
    signaller.terminate();
    timeout(stop_time, read).await.ok();
    why
}

/// Outcome of a command.
pub(super) struct Ran {
    /// `None` after a timeout.
    pub(super) exit: Option<Exit>,
    pub(super) took: Duration,
    /// Last lines.
    pub(super) lines: Vec<String>,
}

impl Shared {
    /// Runs the command `release`; returns the duration in milliseconds.
    pub(super) async fn run_release(
        self: &Arc<Self>,
        wanted: &BackendSpec,
        report: Report<'_>,
    ) -> Result<Option<u128>, Error> {
        let Some(command) = wanted.managed.server.release.clone() else { return Ok(None) };
        let _under_way = self.one_offs.token();
        let time_max = ms(self.limits.release_ms_max);
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let once = OneOff { name: NAME.to_owned(), command, time_max, stop, kill };
        let Ran { exit, took, lines } = self.run_one_off(wanted, once, report).await?;
        let reason = match exit {
            Some(Exit::Code(0)) => return Ok(Some(took.as_millis())),
            Some(exit) => exit.to_string(),
            None => format!("was not done within {} ms", time_max.as_millis()),
        };
        Err(Error::ReleaseFailed { reason, lines })
    }

    /// Runs a command of a version to its end, in the version's folder.
    pub(super) async fn run_one_off(
        self: &Arc<Self>,
        wanted: &BackendSpec,
        one_off: OneOff,
        report: Report<'_>,
    ) -> Result<Ran, Error> {
        self.check(wanted.trusted)?;
        let ran = self.run_in_folder(wanted, one_off, report).await;
        if !ran.as_ref().is_ok_and(|ran| ran.exit == Some(Exit::Code(0))) {
            self.folders.tidy(&wanted.app).await;
        }
        ran
    }

    async fn run_in_folder(
        self: &Arc<Self>,
        wanted: &BackendSpec,
        one_off: OneOff,
        report: Report<'_>,
    ) -> Result<Ran, Error> {
        let OneOff { name, command, time_max, stop, kill } = one_off;
        let begun = Instant::now();
        let (id, server) = (wanted.run(), &wanted.managed.server);
        let place = (wanted.app.clone(), self.settings_place(wanted));
        let _user = self.use_data(place.clone(), Use::Command).await?;
        let is_measured = self.is_measured(server, &place.0, &place.1);
        if is_measured {
            self.check_persisted(&place.0, &place.1)?;
        }
        let set_up = self.set_up(&id, &wanted.version, server, &place.1).await?;
        let temporary = Self::temporary(&set_up.temporary);
        let program = Program {
            app: &wanted.app,
            place: &wanted.place,
            version: &wanted.version,
            name: &name,
            serial: format!("{:08x}", rand::random::<u32>()),
            command,
            endpoint: None,
            folder: None,
            temporary: &temporary,
            client: None,
        };
        let (launch, container) = self.launch_of(&set_up, server, program)?;
        let mut running = self.spawner.launch(launch).await.map_err(|error| Error::Spawn(error.to_string()))?;
        let mut lines = VecDeque::new();
        let over = async {
            tokio::select! {
                () = sleep_until(begun + time_max) => Ok(None::<Exit>),
                () = self.stop.cancelled() => Err(Error::Ended),
                () = stop.cancelled() => Err(Error::Ended),
            }
        };
        let (signaller, stop_time) = (running.signaller(), self.stop_time(server));
        let read = self.read((wanted, &name), &mut running, &mut lines, report);
        let exit = tokio::select! {
            exit = ended(read, over, &signaller, stop_time) => exit,
            () = kill.cancelled() => Err(Error::Ended),
            error = self.kept_too_much(&place), if is_measured => Err(error),
        };
        // No process of the command is left, or may continue.
        drop(running);
        if let Some(container) = &container {
            self.remove_container(&container.name).await;
        }
        self.remove_temporary(&temporary, set_up.user.uid()).await;
        Ok(Ran { exit: exit?, took: begun.elapsed(), lines: lines.into() })
    }

    /// Reads the output until the end.
    async fn read(
        &self,
        (wanted, name): (&BackendSpec, &str),
        running: &mut Running,
        last: &mut VecDeque<String>,
        report: Report<'_>,
    ) -> Exit {
        let log = self.logs.of(&wanted.app, &wanted.place).await;
        let mut splitters = [Splitter::new(log.line_bytes_max), Splitter::new(log.line_bytes_max)];
        loop {
            let happened = running.next().await;
            let exit = match &happened {
                Some(Happened::Output { .. }) => None,
                Some(Happened::Exited(exit)) => Some(exit.clone()),
                None => Some(Exit::Lost),
            };
            let mut lines: Vec<(LineStream, String)> = Vec::new();
            let [out, err] = &mut splitters;
            if let Some(Happened::Output { stream, bytes }) = happened {
                let (splitter, stream) = match stream {
                    Stream::Stdout => (out, LineStream::Stdout),
                    Stream::Stderr => (err, LineStream::Stderr),
                };
                lines.extend(splitter.take(&bytes).into_iter().map(|line| (stream, line)));
            } else {
                lines.extend(out.finish().map(|line| (LineStream::Stdout, line)));
                lines.extend(err.finish().map(|line| (LineStream::Stderr, line)));
            }
            for (stream, text) in lines {
                report(&text);
                if last.len() >= ERROR_LINES_MAX {
                    last.pop_front();
                }
                last.push_back(text.clone());
                log.add(Line {
                    at_ms: clock::now_ms(),
                    instance: name.to_owned(),
                    version: wanted.version.short(),
                    stream,
                    text,
                })
                .await;
            }
            if let Some(exit) = exit {
                return exit;
            }
        }
    }
}
