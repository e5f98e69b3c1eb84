//! The command `release` of a backend: once before its instances are switched to, in its folder, with its variables.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::environment::{self, EdgeVariables};
use super::error::{ERROR_LINES_MAX, Error};
use super::logs::{Line, LineStream, Splitter};
use super::request::Wanted;
use super::shared::{Report, Shared, ms};
use crate::spawner::{Exit, Happened, Launch, Running, Stream};
use crate::telemetry;

/// The name of its lines.
const NAME: &str = "release.1";

impl Shared {
    /// Runs the command; gives how long it took, in milliseconds.
    pub(super) async fn run_release(
        self: &Arc<Self>,
        wanted: &Wanted,
        report: Report<'_>,
    ) -> Result<Option<u128>, Error> {
        let Some(command) = wanted.managed.server.release.clone() else { return Ok(None) };
        self.check(wanted.trusted)?;
        let ran = self.release_once(wanted, command, report).await;
        if ran.is_err() {
            self.folders.tidy(&wanted.app).await;
        }
        ran.map(Some)
    }

    async fn release_once(&self, wanted: &Wanted, command: Vec<String>, report: Report<'_>) -> Result<u128, Error> {
        let begun = Instant::now();
        let (id, server) = (wanted.run(), &wanted.managed.server);
        let set_up = self.set_up(&id, &wanted.version, server, &self.settings_place(wanted)).await?;
        let temporary = Self::temporary(&set_up.temporary);
        let edge = EdgeVariables {
            app: wanted.app.as_str(),
            place: &wanted.place,
            version: &wanted.version,
            instance: NAME,
            node: &self.node,
            data: set_up.data.as_deref(),
            listen: None,
            path: &self.settings.path,
            temporary: &set_up.temporary,
        };
        let launch = Launch {
            id: format!("{}/{}/{NAME}#{:08x}", wanted.app, wanted.place, rand::random::<u32>()),
            command,
            folder: set_up.code.path.clone(),
            environment: environment::variables(&set_up.variables, &edge),
            uid: set_up.user.uid(),
            limits: self.instance_limits(server),
            temporary: Some(temporary.clone()),
            keep: set_up.data.iter().cloned().collect(),
        };
        let mut running = self.spawner.launch(launch).await.map_err(|error| Error::Spawn(error.to_string()))?;
        let mut lines = VecDeque::new();
        let until = begun + ms(self.limits.release_ms_max);
        let exit = tokio::select! {
            ended = timeout_at(until, self.read(wanted, &mut running, &mut lines, report)) => ended,
            () = self.stop.cancelled() => return Err(Error::Ended),
        };
        // Nothing of it runs any more, or is to.
        drop(running);
        self.remove_temporary(&temporary, set_up.user.uid()).await;
        let reason = match exit {
            Ok(Exit::Code(0)) => return Ok(begun.elapsed().as_millis()),
            Ok(exit) => exit.to_string(),
            Err(_elapsed) => format!("was not done within {} ms", self.limits.release_ms_max),
        };
        Err(Error::ReleaseFailed { reason, lines: lines.into() })
    }

    /// Takes what it writes until it ends.
    async fn read(
        &self,
        wanted: &Wanted,
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
                    at_ms: telemetry::now_ms(),
                    instance: NAME.to_owned(),
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
