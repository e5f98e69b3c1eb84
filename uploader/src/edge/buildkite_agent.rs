//! Identity tokens of Buildkite, requested by the agent of the job.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use devanture_config::api::Secret;
use devanture_config::problem::Code;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::output::exit::Failure;
use crate::settings::IDENTITY_TOKEN_BYTES_MAX;

/// The program, in the PATH of each job.
const PROGRAM: &str = "buildkite-agent";
/// Longest run time; the program retries by itself.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Returns an identity token of the job, for an audience, from the agent in a folder of `path`. The agent's other
/// output goes to the log of the job.
///
/// # Errors
/// `unreachable` without an agent.
pub(super) async fn identity_token(path: &str, audience: &str) -> Result<Secret, Failure> {
    let requested = tokio::time::timeout(TIME_MAX, request(path, audience)).await;
    requested.unwrap_or_else(|_late| Err(format!("it takes more than {} seconds", TIME_MAX.as_secs()))).map_err(|why| {
        Failure::new(Code::Unreachable, format!("`{PROGRAM} oidc request-token` gives no identity token: {why}."))
            .hint("`DEVANTURE_ID_TOKEN` holds one that something else has requested, and `DEVANTURE_TOKEN` a token")
    })
}

/// Returns the path of the agent. A relative folder, such as `.`, may be written by a pull request.
fn program(path: &str) -> Option<PathBuf> {
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut programs = folders.map(|folder| folder.join(format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX)));
    programs.find(|program| program.is_file())
}

async fn request(path: &str, audience: &str) -> Result<Secret, String> {
    let program = program(path).ok_or("it is in no folder of PATH")?;
    let mut command = Command::new(program);
    command.args(["oidc", "request-token", "--audience", audience]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut agent = command.spawn().map_err(|error| format!("it does not start, {error}"))?;
    let bytes_max = u64::try_from(IDENTITY_TOKEN_BYTES_MAX).unwrap_or(u64::MAX);
    let mut printed = Vec::new();
    if let Some(output) = agent.stdout.take() {
        // One line end more, and a byte that is too much.
        let mut output = output.take(bytes_max.saturating_add(2));
        output.read_to_end(&mut printed).await.map_err(|error| format!("its output cannot be read, {error}"))?;
    }
    if printed.len() > IDENTITY_TOKEN_BYTES_MAX.saturating_add(1) {
        return Err("what it prints does not end".to_owned());
    }
    let status = agent.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("it ends with {status}"));
    }
    let token = str::from_utf8(&printed).map(str::trim).unwrap_or_default();
    let is_one = (1..=IDENTITY_TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
    if is_one { Ok(Secret::new(token)) } else { Err("what it prints is none".to_owned()) }
}
