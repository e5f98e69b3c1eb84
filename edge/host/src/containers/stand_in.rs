//! `devanture-edge run-container`: stand-in process of a container, which creates the container, passes on output and
//! end, and forwards SIGTERM.
//!
//! The spawner starts the process as the edge's user, who alone may use podman. The container is described by dedicated
//! variables, never by the app's variables: a setting of an app such as `LD_PRELOAD` affects only the container.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::attached;
use super::description::Description;
use super::error::Error;
use super::frames::{Frames, Output};
use super::podman::{Answered, Ask, Podman, container_path, encoded};

/// Variable with the socket of the service.
const SOCKET: &str = "DEVANTURE_PODMAN";
/// Prefix of the variables with the pieces of the description, before their numbers.
const PIECE: &str = "DEVANTURE_CONTAINER_";
/// Bytes of a piece: half of the limit of a variable.
const PIECE_BYTES: usize = 64 * 1024;
/// Maximum number of pieces.
const PIECES_MAX: usize = 64;
/// Exit code of a container that could not be run, as in podman.
pub(super) const CANNOT_RUN: u8 = 125;
/// Bytes read at once.
const READ_BYTES: usize = 32 * 1024;
/// Longest absence of podman that a container outlives, and the pause between two checks.
const AWAY_TIME_MAX: Duration = Duration::from_secs(600);
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// Maximum refusals of waiting for a container.
const REFUSALS_MAX: u32 = 20;
/// Path of the request for output.
const ATTACH: &str = "attach?stream=true&stdin=false&stdout=true&stderr=true";
/// Longest wait for the last output of an ended container: the output comes through podman, which may be busy.
const LAST_OUTPUT_TIME_MAX: Duration = Duration::from_secs(10);

/// Returns the command of the process, started by the spawner in place of an app's program.
#[must_use]
pub fn command() -> Vec<String> {
    vec!["/proc/self/exe".to_owned(), "run-container".to_owned()]
}

/// Returns the variables of the process; `None` if the description is too long.
#[must_use]
pub fn variables(socket: &Path, description: &Description) -> Option<BTreeMap<String, String>> {
    let text = serde_json::to_string(description).ok()?;
    let mut variables = BTreeMap::from([(SOCKET.to_owned(), socket.to_str()?.to_owned())]);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(PIECE_BYTES);
        let (piece, more) = rest.split_at_checked(end)?;
        let number = variables.len() - 1;
        if number >= PIECES_MAX {
            return None;
        }
        variables.insert(format!("{PIECE}{number}"), piece.to_owned());
        rest = more;
    }
    Some(variables)
}

/// Reads the socket and the description from variables.
fn described(variable: impl Fn(&str) -> Option<String>) -> Option<(PathBuf, Description)> {
    let pieces = (0..PIECES_MAX).map_while(|number| variable(&format!("{PIECE}{number}")));
    let text: String = pieces.collect();
    Some((variable(SOCKET)?.into(), serde_json::from_str(&text).ok()?))
}

/// Runs the container described by the variables to the end; returns the container's exit code.
///
/// # Errors
/// Fails if the process cannot be set up.
pub fn run_container() -> io::Result<u8> {
    let Some((socket, description)) = described(|name| std::env::var(name).ok()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "no container is described"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let podman = Podman::at(socket);
    runtime.block_on(async {
        let name = description.name.clone();
        let code = match description.attachment {
            Some(attachment) => attached::run(&podman, &description, attachment).await?,
            None => {
                let terminated = signal(SignalKind::terminate())?;
                run(&podman, &description, terminated).await.unwrap_or_else(|error| {
                    say(&error.to_string());
                    CANNOT_RUN
                })
            }
        };
        // The runner removes leftovers.
        podman.remove_container(&name).await.ok();
        Ok(code)
    })
}

/// Writes a line into the log of the instance.
pub(super) fn say(text: &str) {
    // The reader may be gone.
    writeln!(io::stderr(), "{text}").ok();
}

async fn run(podman: &Podman, description: &Description, terminated: Signal) -> Result<u8, Error> {
    let name = &description.name;
    let created = podman.ask(Ask::post("/containers/create").json(&description.specification())).await?;
    created.done("create the container")?;
    // Before the start: a running container must not be lost because of a failed request.
    let looked_at = podman.ask(Ask::get(container_path(name, "json"))).await?.done("look at the container")?.value();
    let signal = encoded(&stop_signal(&looked_at));
    // Before the start, so that no output is lost. Podman prepares the container for attaching: a refusal here is a
    // refusal of the start.
    let output = podman.upgrade(Ask::post(container_path(name, ATTACH)), "start the container").await?;
    podman.ask(Ask::post(container_path(name, "start"))).await?.done("start the container")?;
    let mut watch = Watch {
        podman,
        name,
        signal,
        terminated,
        is_ending: false,
        output: Some(output),
        frames: Frames::default(),
        buffer: vec![0; READ_BYTES],
    };
    let mut refusals = 0;
    let ended = loop {
        match watch.ended().await {
            Err(Error::Unreachable { .. }) => {
                say("podman does not answer; the container goes on, and its output is lost until podman is back");
                watch.engine_is_back().await?;
            }
            // Like a graceful end of the process.
            Err(Error::Refused { .. }) if refusals < REFUSALS_MAX => {
                refusals += 1;
                watch.engine_is_back().await?;
            }
            ended => break ended?,
        }
    };
    watch.last_output().await;
    exit_code(podman, name, &ended).await
}

/// State of watching a running container.
struct Watch<'w> {
    podman: &'w Podman,
    name: &'w str,
    /// Stop signal of the image.
    signal: String,
    terminated: Signal,
    /// True once the container must end.
    is_ending: bool,
    /// Output stream while open.
    output: Option<TokioIo<Upgraded>>,
    frames: Frames,
    buffer: Vec<u8>,
}

impl Watch<'_> {
    /// Returns the answer to the wait for the container's end.
    async fn ended(&mut self) -> Result<Answered, Error> {
        if self.is_ending {
            self.end().await?;
        }
        let ended = self.podman.ask(Ask::post(container_path(self.name, "wait?condition=stopped")).unlimited());
        tokio::pin!(ended);
        loop {
            tokio::select! {
                // Output precedes the end.
                biased;
                Some(()) = self.terminated.recv() => self.end().await?,
                read = read(&mut self.output, &mut self.buffer), if self.output.is_some() => self.pass_on(read),
                ended = &mut ended => break ended?.done("wait for the container"),
            }
        }
    }

    async fn end(&mut self) -> Result<(), Error> {
        self.is_ending = true;
        let kill = container_path(self.name, &format!("kill?signal={}", self.signal));
        self.podman.ask(Ask::post(kill)).await.map(drop)
    }

    /// Waits for a restarted podman, for example after an upgrade: the containers keep running. Output in the meantime
    /// is lost.
    async fn engine_is_back(&mut self) -> Result<(), Error> {
        self.output = None;
        let until = tokio::time::Instant::now() + AWAY_TIME_MAX;
        loop {
            tokio::select! {
                () = tokio::time::sleep(AWAY_PAUSE) => {}
                Some(()) = self.terminated.recv() => self.is_ending = true,
            }
            let looked = self.podman.ask(Ask::get(container_path(self.name, "json"))).await;
            let is_late = tokio::time::Instant::now() >= until;
            match looked {
                // A podman that is starting may refuse any request.
                Ok(answered) if answered.status.is_success() => {
                    if answered.value().pointer("/State/Running").and_then(Value::as_bool) == Some(true) {
                        let attach = Ask::post(container_path(self.name, ATTACH));
                        self.output = self.podman.upgrade(attach, "attach to the container").await.ok();
                    }
                    return Ok(());
                }
                Ok(answered) if answered.status == StatusCode::NOT_FOUND || is_late => {
                    return answered.done("look at the container").map(drop);
                }
                Err(error) if is_late => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn last_output(&mut self) {
        let until = tokio::time::Instant::now() + LAST_OUTPUT_TIME_MAX;
        while self.output.is_some() {
            let reading = read(&mut self.output, &mut self.buffer);
            let Ok(read) = tokio::time::timeout_at(until, reading).await else { return };
            self.pass_on(read);
        }
    }

    /// Writes output to the matching stream. Waits for a slow reader.
    fn pass_on(&mut self, read: io::Result<usize>) {
        let bytes = read.ok().filter(|length| *length > 0).and_then(|length| self.buffer.get(..length));
        let passed = bytes.map(|bytes| self.frames.read(bytes, Output::write));
        match passed {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                say(&error.to_string());
                self.output = None;
            }
            None => self.output = None,
        }
    }
}

/// Reads output, if the stream is open.
async fn read(output: &mut Option<TokioIo<Upgraded>>, buffer: &mut [u8]) -> io::Result<usize> {
    match output {
        Some(output) => output.read(buffer).await,
        None => Ok(0),
    }
}

/// Returns the exit code of an ended container from the answer to the wait; reports a lack of memory.
pub(super) async fn exit_code(podman: &Podman, name: &str, ended: &Answered) -> Result<u8, Error> {
    let state = podman.ask(Ask::get(container_path(name, "json"))).await?.value();
    if state.pointer("/State/OOMKilled").and_then(Value::as_bool) == Some(true) {
        say("the container had more memory than it may, and was killed");
    }
    let code = ended.value().as_i64().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(CANNOT_RUN))
}

/// Returns the stop signal of the image: a number in podman 4, a name in podman 5.
fn stop_signal(container: &Value) -> String {
    match container.pointer("/Config/StopSignal") {
        Some(Value::Number(number)) if number.as_u64().is_some_and(|number| (1..=64).contains(&number)) => {
            number.to_string()
        }
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        _ => "SIGTERM".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::description::PublishedPort;
    use devanture_config::edge_toml::Network;

    #[test]
    fn a_container_ends_by_the_signal_of_its_image_however_the_engine_says_it() {
        let signal = |said: Value| stop_signal(&serde_json::json!({ "Config": { "StopSignal": said } }));
        assert_eq!((signal(3.into()), signal("SIGQUIT".into())), ("3".to_owned(), "SIGQUIT".to_owned()));
        for none in [Value::Null, 0.into(), 65.into(), "".into()] {
            assert_eq!(signal(none), "SIGTERM");
        }
    }

    #[test]
    fn a_description_of_any_length_that_may_be_comes_through_variables_that_are_none_of_the_app() {
        let mut description = Description {
            name: "n".to_owned(),
            edge_id: "e".to_owned(),
            image: "i".to_owned(),
            command: vec!["ä".repeat(3 * PIECE_BYTES / 4), "b".to_owned()],
            environment: [("LD_PRELOAD", "/data/evil.so"), ("A", "\u{1}\"=\n")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            uid: 200_000,
            binds: Vec::new(),
            port: Some(PublishedPort(1)),
            network: Network::None,
            memory_bytes: 1,
            tasks: 1,
            cpu_percent: 0,
            open_files: 1,
            temporary_bytes: 1,
            terminals: 1,
            attachment: None,
        };
        let given = variables(Path::new("/run/p.sock"), &description).unwrap();
        assert!(given.len() > 2 && given.keys().all(|name| name.starts_with("DEVANTURE_")), "{:?}", given.keys());
        let (socket, read) = described(|name| given.get(name).cloned()).unwrap();
        assert_eq!(socket, Path::new("/run/p.sock"));
        assert_eq!((read.command, read.environment), (description.command.clone(), description.environment.clone()));
        description.command = vec!["x".repeat(PIECE_BYTES * PIECES_MAX)];
        assert!(variables(Path::new("/run/p.sock"), &description).is_none());
    }
}
