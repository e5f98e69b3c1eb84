//! `devanture`: puts a front-end in production with one push.
//!
//! `args` is what was typed, `settings` what it means together with the environment, `.env` and `devanture.toml`.
//! `boundary` holds the files of a project in their folder, and `beneath` opens them; `scan`, `hash` and `bundle` make
//! a manifest of a folder; `client`, `deploy`, `credential`, `sse` and `trust` speak with the edge, and `session_store`
//! keeps a login; `push`, `commands`, `history`, `hostnames`, `instances`, `retention`, `logs`, `collaboration`,
//! `maintenance`, `upstreams` and `access` are the commands, `dry_run` is their `--dry-run`, and `migrate` is `init
//! --from`; `check` looks at what would be pushed, `routes` says what would answer a path, and `dev` serves it on this
//! machine; `progress`, `step_output` and `report` tell about them through `terminal`, `exit` is how they fail, and
//! `suggest` what may have been meant.

mod access;
mod args;
mod bundle;
mod check;
mod collaboration;
mod commands;
mod context;
#[cfg(unix)]
mod dev;
mod dry_run;
mod edge;
mod env;
mod explain;
mod history;
mod hostnames;
mod init;
mod instances;
mod logs;
mod maintenance;
mod migrate;
mod output;
mod project;
mod push;
#[cfg(test)]
mod recipes_tests;
mod retention;
mod routes;
mod suggest;
mod upstreams;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use devanture_config::nearest;
use devanture_config::problem::Code;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::output::exit::{self, Failure, INTERRUPTED};
use crate::output::progress::{self, Progress};
use crate::output::report::{self, Output};
use crate::output::terminal;
use crate::push::Push;

/// Most threads that speak with the network; encryption is all that they work on.
const THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    let environment =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let environment: BTreeMap<String, String> = environment.collect();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(cli, environment),
        Err(error) => misused(&error, &arguments, &environment),
    }
}

fn run(cli: Cli, environment: BTreeMap<String, String>) -> ExitCode {
    if let Command::Completions { shell } = &cli.command {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut Cli::command(), "devanture", &mut script);
        let output = Output { is_json: false, style: progress::Style::of(&environment, false) };
        output.script(String::from_utf8_lossy(&script).trim_end());
        return ExitCode::SUCCESS;
    }
    // Fails only where a provider is there already, which is as good.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut cli = cli;
    cli.common.telling.json |= cli.command.wants_json();
    let (context, read) = Context::new(&cli.common, environment);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let ended = match &runtime {
        Ok(runtime) => runtime.block_on(carry_out(&context, &cli.command, read)),
        Err(error) => Err((Failure::new(Code::Internal, format!("No threads can be started: {error}.")), None)),
    };
    if let Ok(runtime) = runtime {
        // A scan that was interrupted is not waited for.
        runtime.shutdown_background();
    }
    let ended = match (ended, report::unwritten()) {
        (Ok(()), Some(failure)) => Err((failure, None)),
        (ended, _) => ended,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((failure, last)) => {
            tell(&context.output, &context.progress, &failure, last.as_deref());
            ExitCode::from(failure.exit)
        }
    }
}

/// Carries out a command until it ends or is interrupted; beside a failure stands what to say last.
async fn carry_out(
    context: &Context,
    command: &Command,
    read: Result<(), Failure>,
) -> Result<(), (Failure, Option<String>)> {
    if let Command::Push(args) = command {
        let mut push = Push::new(context, args);
        let ended = match read {
            Ok(()) => Box::pin(interruptible(push.run())).await,
            Err(failure) => Err(failure),
        };
        return match ended {
            Ok(()) => Ok(()),
            Err(failure) => {
                let last = push.last_sentence(&failure).await;
                Err((failure, Some(last)))
            }
        };
    }
    if let Command::Check(args) = command {
        // It reports mistakes in `devanture.toml` in the requested form.
        return interruptible(check::run(context, args, read)).await.map_err(|failure| (failure, None));
    }
    if let Command::Dev(args) = command {
        // It is over when somebody ends it, which is no failure.
        return Box::pin(dev::run(context, args, read)).await.map_err(|failure| (failure, None));
    }
    // A file with mistakes is no reason not to write another, which will say that there is one; and that it has several
    // apps is not one if no app is meant.
    let read = match command {
        Command::Init(_) => Ok(()),
        _ if command.is_of_the_edge() && !context.project.site.apps.is_empty() => Ok(()),
        _ => read,
    };
    let ended = match read {
        Ok(()) => interruptible(answer(context, command)).await,
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(failure) => {
            let last = commands::last_sentence(context, command, &failure).await;
            Err((suggest::with_hint(context, command, failure).await, last))
        }
    }
}

async fn answer(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Audit(args) => access::audit(context, args).await,
        Command::Alias(command) => collaboration::alias(context, command).await,
        Command::Delete(args) => retention::delete(context, args).await,
        Command::Diff(args) => collaboration::diff(context, args).await,
        Command::Env(command) => env::env(context, command).await,
        Command::Gc(args) => retention::gc(context, args).await,
        Command::History(args) => history::history(context, args).await,
        Command::Hostnames(command) => hostnames::hostnames(context, command).await,
        Command::Init(args) => init::init(context, args),
        Command::Instances => instances::instances(context).await,
        Command::Login => access::login(context).await,
        Command::Logout => access::logout(context).await,
        Command::Lock(args) => collaboration::lock(context, args).await,
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Pause(args) => maintenance::pause(context, args).await,
        Command::Promote(args) => commands::promote(context, args).await,
        Command::Restart(args) => instances::restart(context, args).await,
        Command::Resume(args) => maintenance::resume(context, args).await,
        Command::Rollback(args) => commands::rollback(context, args).await,
        Command::Routes(args) => routes::routes(context, args).await,
        Command::Scale(args) => instances::scale(context, args).await,
        Command::Status => commands::status(context).await,
        Command::Token(command) => access::token(context, command).await,
        Command::Unlock(args) => collaboration::unlock(context, args).await,
        Command::Switch(args) => commands::switch(context, args).await,
        Command::Upstreams(args) => upstreams::upstreams(context, args).await,
        Command::Undelete(args) => retention::undelete(context, args).await,
        // Carried out by the callers.
        Command::Check(_) | Command::Completions { .. } | Command::Dev(_) | Command::Push(_) => Ok(()),
    }
}

/// The stand-in for `dev` without an edge.
#[cfg(not(unix))]
mod dev {
    use crate::args::DevArgs;
    use crate::context::Context;
    use crate::output::exit::Failure;

    /// Refuses.
    pub(crate) async fn run(_context: &Context, _args: &DevArgs, _read: Result<(), Failure>) -> Result<(), Failure> {
        let message = "`dev` runs an edge, and there is none for this system.";
        Err(Failure::new(devanture_config::problem::Code::Usage, message).hint("use it within WSL"))
    }
}

/// Carries out `work` until Ctrl-C or SIGTERM.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Signals are handled before the work begins.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::interrupted(INTERRUPTED)),
        failure = terminated() => Err(failure),
        ended = work => ended,
    }
}

/// Waits for the signal by which CI ends a job.
#[cfg(unix)]
pub(crate) async fn terminated() -> Failure {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut signal) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    match signal.recv().await {
        Some(()) => Failure::interrupted(exit::TERMINATED),
        None => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminated() -> Failure {
    std::future::pending().await
}

/// Tells a failure: to a person on stderr, and as a line of JSON on stdout where that is wanted.
fn tell(output: &Output, progress: &Progress, failure: &Failure, last: Option<&str>) {
    if output.is_json && !failure.is_told {
        output.json(&failure.json());
    }
    let style = progress.style;
    let mut lines = failure.lines();
    if let Some(last) = lines.last_mut() {
        *last = format!("{last}  {}", style.dim(&format!("[{}]", failure.code)));
    }
    if let Some(first) = lines.first_mut() {
        *first = format!("{} {first}", style.bad("error:"));
    }
    lines.iter().for_each(|line| progress.line(line));
    if let Some(hint) = &failure.hint {
        progress.line(&format!("{} {hint}", style.good("hint:")));
    }
    if let Some(last) = last {
        progress.line(last);
    }
}

/// Ends a call that clap did not accept: help and version go to stdout, mistakes are printed like every other failure.
fn misused(error: &clap::Error, arguments: &[OsString], environment: &BTreeMap<String, String>) -> ExitCode {
    // What was typed may be a stranger's, such as the name of a branch. If the output is closed, nothing is printed.
    let shown = arguments.iter().map(|argument| terminal::escaped(&argument.to_string_lossy()));
    match Cli::try_parse_from(shown) {
        Err(shown) => shown.print().ok(),
        Ok(_) => writeln!(std::io::stderr(), "{}", terminal::line(&error.to_string())).ok(),
    };
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let suggested = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let suggested = suggested.into_iter().find_map(|kind| error.get(kind)).map(ToString::to_string);
    // By the sound of its letters clap finds a flag that is less like it.
    let suggested = negated_flag(error, arguments).or(suggested);
    let hint = suggested.map_or_else(|| "devanture --help".to_owned(), |meant| format!("did you mean `{meant}`?"));
    let failure = Failure::new(Code::Usage, first_paragraph(error)).hint(hint);
    let output =
        Output { is_json: arguments.iter().any(|a| a == "--json"), style: progress::Style::of(environment, false) };
    if output.is_json {
        output.json(&failure.json());
    }
    ExitCode::from(failure.exit)
}

/// The flag that begins with `--no-` and ends nearly as one that was typed without that.
fn negated_flag(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else { return None };
    let typed = typed.strip_prefix("--")?.split('=').next()?;
    let mut command = Cli::command();
    command.build();
    let typed_words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    let mut of = &command;
    for word in typed_words {
        of = of.find_subcommand(word).unwrap_or(of);
    }
    let flags: Vec<&str> = of.get_arguments().filter_map(clap::Arg::get_long).collect();
    let negated = flags.iter().filter_map(|flag| flag.strip_prefix("no-"));
    Some(format!("--no-{}", nearest(typed, negated)?))
}

/// The error of clap as one line: its first paragraph, which may list what is missing below its first line.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
