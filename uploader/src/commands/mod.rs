//! The commands: a file or folder for each, or for several about one subject.
//!
//! A command takes the arguments read by `args` and the context of the call, and prints through `output`. `dry_run`,
//! `bundle_notes` and `suggest` serve several commands.

mod access;
mod accounts;
mod apps;
mod bundle_notes;
mod canary;
mod check;
mod collaboration;
mod data;
#[cfg(unix)]
mod dev;
mod dry_run;
mod env;
mod history;
mod hostnames;
mod init;
mod instances;
mod integrity;
mod logs;
mod maintenance;
mod nodes;
mod person;
mod protection;
mod push;
mod retention;
mod routes;
mod run;
mod schedules;
mod signing;
mod status;
mod suggest;
mod switch;
mod upstreams;
mod usage;
mod webhooks;

use devanture_project::ProjectError;

use self::push::Push;
use crate::args::Command;
use crate::args::LoginArgs;
use crate::context::Context;
use crate::output::exit::Failure;
use crate::signals::interruptible;

/// Runs a command until it ends or is interrupted; a failure comes with the last sentence to print.
pub(crate) async fn run(
    context: &Context,
    command: &Command,
    read: Result<(), ProjectError>,
) -> Result<(), (Failure, Option<String>)> {
    if let Command::Check(args) = command {
        // `check` reports mistakes in `devanture.toml` in the requested form.
        return interruptible(check::run(context, args, read)).await.map_err(|failure| (failure, None));
    }
    let read = read.map_err(Failure::from);
    if let Command::Push(args) = command {
        let mut push = Push::new(context, args);
        let ended = match read {
            Ok(()) => Box::pin(interruptible(push.run())).await,
            Err(failure) => Err(failure),
        };
        return match ended {
            Ok(()) => Ok(()),
            Err(failure) => {
                let (failure, last) = push.ending(failure).await;
                Err((failure, Some(last)))
            }
        };
    }
    if let Command::Dev(args) = command {
        // An interruption is the normal end of `dev`, and not a failure.
        return Box::pin(dev::run(context, args, read)).await.map_err(|failure| (failure, None));
    }
    if let Command::Run(args) = command {
        // Signals are passed to the remote command.
        return Box::pin(run::run(context, args, context.despite(read, false)))
            .await
            .map_err(|failure| (failure, None));
    }
    // A file with mistakes does not stop `init`, which reports an existing file; a file of several apps does not stop
    // commands without an app.
    let read = match command {
        Command::Init(_) => Ok(()),
        _ if command.is_of_the_edge() && !context.project.site.apps.is_empty() => Ok(()),
        // `routes` answers from the file itself.
        Command::Routes(_) => read,
        _ => context.despite(read, command.is_of_the_edge()),
    };
    let ended = match read {
        Ok(()) => interruptible(answer(context, command)).await,
        Err(failure) => Err(failure),
    };
    match ended {
        Ok(()) => Ok(()),
        Err(failure) => {
            let last = switch::last_sentence(context, command, &failure).await;
            Err((suggest::with_hint(context, command, failure).await, last))
        }
    }
}

async fn answer(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Apps(args) => apps::apps(context, args).await,
        Command::Audit(args) => access::audit(context, args).await,
        Command::Account(command) => accounts::account(context, command).await,
        Command::Alias(command) => collaboration::alias(context, command).await,
        Command::Canary(args) => canary::canary(context, args).await,
        Command::Unpin => canary::unpin(context).await,
        Command::Data(command) => data::data(context, command).await,
        Command::Delete(args) => retention::delete(context, args).await,
        Command::Diff(args) => collaboration::diff(context, args).await,
        Command::Env(command) => env::env(context, command).await,
        Command::Gc(args) => retention::gc(context, args).await,
        Command::History(args) => history::history(context, args).await,
        Command::Hostnames(command) => hostnames::hostnames(context, command).await,
        Command::Init(args) => match args.from {
            Some(provider) => init::init_from(context, args, provider),
            None => init::init(context, args),
        },
        Command::Instances => instances::instances(context).await,
        Command::Login(LoginArgs { oidc: true, all_apps }) => person::login(context, *all_apps).await,
        Command::Login(_) => access::login(context).await,
        Command::Whoami => person::whoami(context).await,
        Command::Logout => access::logout(context).await,
        Command::LiveLog(args) => signing::live_log(context, args).await,
        Command::Lock(args) => collaboration::lock(context, args).await,
        Command::Logs(args) => logs::logs(context, args).await,
        Command::Nodes => nodes::nodes(context).await,
        Command::Pause(args) => maintenance::pause(context, args).await,
        Command::Promote(args) => switch::promote(context, args).await,
        Command::Restart(args) => instances::restart(context, args).await,
        Command::Resume(args) => maintenance::resume(context, args).await,
        Command::Integrity => integrity::integrity(context).await,
        Command::Rollback(args) => switch::rollback(context, args).await,
        Command::Routes(args) => routes::routes(context, args).await,
        Command::Scale(args) => instances::scale(context, args).await,
        Command::Schedules(args) => schedules::schedules(context, args).await,
        Command::Sign(args) => signing::sign(context, args).await,
        Command::Signers(args) => signing::signers(context, args).await,
        Command::Status => status::status(context).await,
        Command::Token(command) => access::token(context, command).await,
        Command::Unlock(args) => collaboration::unlock(context, args).await,
        Command::Switch(args) => switch::switch(context, args).await,
        Command::Upstreams(args) => upstreams::upstreams(context, args).await,
        Command::Undelete(args) => retention::undelete(context, args).await,
        Command::Usage => usage::usage(context).await,
        Command::Verify(args) => Box::pin(signing::verify(context, args)).await,
        Command::Protect(args) => protection::protect(context, args).await,
        Command::Share(args) => protection::share(context, args).await,
        Command::Webhooks(args) => webhooks::webhooks(context, args).await,
        // Carried out by the callers.
        Command::Check(_)
        | Command::Completions { .. }
        | Command::Dev(_)
        | Command::Man { .. }
        | Command::Push(_)
        | Command::Run(_) => Ok(()),
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
