//! `devanture`: puts a front-end in production with one push.
//!
//! `args` parses the command line, and `context` joins the arguments with the project and its `settings`. `source`
//! finds the origin of a bundle, `edge` is the client of an edge, and `output` prints for a person or a program;
//! `platform` has the differences between systems. `commands` uses all of these modules, and none of them uses
//! `commands`. The content of a folder and the bundle of a push are in `devanture-project`.

mod args;
mod commands;
mod context;
mod edge;
mod output;
mod platform;
mod settings;
mod signals;
mod source;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};
use devanture_config::parsing::nearest;
use devanture_config::problem::Code;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::progress::{self, Progress, Volume};
use crate::output::report::{self, Output};
use crate::output::{failure, terminal};

/// Upper bound of network threads, used only for encryption.
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
        let output = Output { is_json: false, is_quiet: false, style: progress::Style::of(&environment, false) };
        output.script(String::from_utf8_lossy(&script).trim_end());
        return ExitCode::SUCCESS;
    }
    if let Command::Man { folder } = &cli.command {
        return man_pages(folder, &environment);
    }
    // Fails only if a provider is installed already, which is as good.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut cli = cli;
    cli.common.output.json |= cli.command.wants_json();
    if let Command::Promote(args) = &cli.command {
        // The exchanged identity token is for one environment: here the changed one.
        cli.common.set_environment(&args.to);
    }
    let (mut context, read) = Context::new(&cli.common, environment);
    context.settings.set_usual_place(cli.command.usual_place());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let ended = match &runtime {
        Ok(runtime) => runtime.block_on(commands::run(&context, &cli.command, read)),
        Err(error) => Err((Failure::new(Code::Internal, format!("No threads can be started: {error}.")), None)),
    };
    if let Ok(runtime) = runtime {
        // An interrupted scan is not awaited.
        runtime.shutdown_background();
    }
    let ended = match (ended, report::unwritten()) {
        (Ok(()), Some(failure)) => Err((failure, None)),
        (ended, _) => ended,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((failure, last)) => {
            failure::print(&context.output, &context.progress, &failure, last.as_deref());
            ExitCode::from(failure.exit)
        }
    }
}

/// Writes a page for each command into `folder`.
fn man_pages(folder: &Path, environment: &BTreeMap<String, String>) -> ExitCode {
    let Err(error) = clap_mangen::generate_to(Cli::command(), folder) else { return ExitCode::SUCCESS };
    let message = format!("The pages cannot be written into {}: {error}.", folder.display());
    let failure = Failure::new(Code::Usage, message);
    let progress = Progress::new(environment, Volume::Usual);
    let output = Output { is_json: false, is_quiet: false, style: progress.style };
    failure::print(&output, &progress, &failure, None);
    ExitCode::from(failure.exit)
}

/// Ends a call that clap did not accept: help and version go to stdout, mistakes are printed like every other failure.
fn misused(error: &clap::Error, arguments: &[OsString], environment: &BTreeMap<String, String>) -> ExitCode {
    // The arguments may come from a stranger, such as the name of a branch. With a closed output, the text is dropped.
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
    // By its measure of similarity clap finds a less similar flag.
    let suggested = negated_flag(error, arguments).or(suggested);
    let hint = suggested.map_or_else(|| "devanture --help".to_owned(), |meant| format!("did you mean `{meant}`?"));
    let failure = Failure::new(Code::Usage, first_paragraph(error)).hint(hint);
    let output = Output {
        is_json: arguments.iter().any(|a| a == "--json"),
        is_quiet: false,
        style: progress::Style::of(environment, false),
    };
    if output.is_json {
        output.json(&failure.json());
    }
    ExitCode::from(failure.exit)
}

/// Returns the flag with the prefix `--no-` that is similar to a given flag without the prefix.
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

/// Returns the error of clap as one line: the first paragraph, which may list missing arguments below its first line.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}
