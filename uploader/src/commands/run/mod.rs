//! `run`: a one-off command in the folder of the live version, with this program's input, output, signals and terminal.

mod output;
mod session;

use devanture_config::api::{RunEnd, RunExit, RunRequest};
use devanture_config::problem::Code;
use serde_json::json;

use self::session::Session;
use super::dry_run;
use crate::args::RunArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::terminal::escaped;
use crate::platform;

/// The exit code of a command that did not run to its own end, as in `docker run` and `env`; programs do not use the
/// code by habit.
const NOT_RUN: u8 = 125;
/// … of a command that may not be executed, and of a missing program, as in shells.
const NOT_EXECUTABLE: u8 = 126;
const MISSING: u8 = 127;
/// The base of the exit code after a signal; the signal's number is added.
const SIGNALLED: i32 = 128;

/// Runs a one-off command.
///
/// # Errors
/// The end of the command, if its exit code is not 0; the reason of a missing end, with [`NOT_RUN`].
pub(crate) async fn run(context: &Context, args: &RunArgs, read: Result<(), Failure>) -> Result<(), Failure> {
    let ended = match read {
        Ok(()) => begin(context, args).await,
        Err(failure) => Err(not_run(failure)),
    };
    ended.and_then(|end| match end {
        Some(end) => exit_of(&end),
        None => Ok(()),
    })
}

/// Returns the command's end; `None` for a dry run.
async fn begin(context: &Context, args: &RunArgs) -> Result<Option<RunEnd>, Failure> {
    let (edge, place) = (context.edge().map_err(not_run)?, context.place().map_err(not_run)?);
    let has_terminal = !args.no_tty && !context.output.is_json && !args.dry_run && platform::has_terminal();
    let wanted = RunRequest {
        command: args.command.clone(),
        terminal: has_terminal.then(platform::terminal_size),
        term: context.environment.get("TERM").filter(|term| has_terminal && is_term(term)).cloned(),
        timeout_ms: args.timeout.map(|time| u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX)),
    };
    let at = (&place, args.node.as_deref());
    if args.dry_run {
        let predicted = edge.predict_run(at, &wanted).await.map_err(not_run)?;
        let words: Vec<String> = predicted.command.iter().map(|word| escaped(word)).collect();
        let text = format!("run {} in {place}, version {}", words.join(" "), predicted.version.short());
        dry_run::print_foreseen(context, &predicted, &text);
        return Ok(None);
    }
    let end = Session::new(context.output.is_json, has_terminal).run(&edge, at, &wanted).await?;
    if context.output.is_json && !matches!(end.exit, RunExit::Problem(_)) {
        context.output.json(&json!({
            "app": edge.app(),
            "environment": place,
            "version": end.version,
            "command": args.command,
            "exit": end.exit,
            "ms": end.ms,
        }));
    }
    Ok(Some(end))
}

/// Returns true if the edge accepts a value of `TERM`.
fn is_term(term: &str) -> bool {
    !term.is_empty()
        && term.len() <= devanture_config::api::TERM_CHARACTERS_MAX
        && term.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A failure before the command's own end.
fn not_run(failure: Failure) -> Failure {
    Failure { exit: NOT_RUN, ..failure }
}

/// Converts the end of a command to this program's own end.
fn exit_of(end: &RunEnd) -> Result<(), Failure> {
    let silent = |code: i32| match u8::try_from(code & 0xff) {
        Ok(0) => Ok(()),
        code => Err(Failure::silent(code.unwrap_or(NOT_RUN))),
    };
    match &end.exit {
        RunExit::Code(code) => silent(*code),
        RunExit::Signal(signal) => silent(SIGNALLED.saturating_add(*signal)),
        RunExit::Missing(program) => {
            let message = format!("There is no `{program}`, neither in the folder of the version nor in its PATH.");
            Err(Failure { exit: MISSING, is_printed: true, ..Failure::new(Code::NotFound, message) })
        }
        RunExit::NotExecutable(program) => {
            let message = format!("`{program}` may not be run: it lacks the run bit.");
            Err(Failure { exit: NOT_EXECUTABLE, is_printed: true, ..Failure::new(Code::InstanceFailed, message) })
        }
        RunExit::Problem(problem) => Err(not_run((**problem).clone().into())),
    }
}

#[cfg(test)]
mod tests {
    use devanture_config::VersionId;
    use devanture_config::problem::Problem;

    use super::*;

    #[test]
    fn the_exit_code_is_the_commands_and_those_of_other_ends_are_none_of_its() {
        let code = |exit| exit_of(&RunEnd { exit, ms: 1, version: VersionId::of(b"") }).map_err(|failed| failed.exit);
        assert_eq!(code(RunExit::Code(0)), Ok(()));
        assert_eq!(code(RunExit::Code(3)), Err(3));
        assert_eq!(code(RunExit::Signal(9)), Err(137));
        assert_eq!(code(RunExit::Missing("x".to_owned())), Err(127));
        assert_eq!(code(RunExit::NotExecutable("x".to_owned())), Err(126));
        let problem = Box::new(Problem::new(Code::RunEnded, "It took too long."));
        assert_eq!(code(RunExit::Problem(problem)), Err(125));
    }
}
