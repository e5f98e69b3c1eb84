//! The context of every command: settings, the project, and the output.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};
use devanture_project::{Project, ProjectError};

use crate::args::Common;
use crate::edge::client::{Edge, Link};
use crate::output::exit::Failure;
use crate::output::progress::{Progress, Style, Volume};
use crate::output::report::{Again, Output};
use crate::settings::{Name, Setting, Settings, Source, Sources};

/// The context of every command.
#[derive(Debug)]
pub(crate) struct Context {
    /// The environment of the process at the start.
    pub(crate) environment: BTreeMap<String, String>,
    /// Set if the source of each value is to be printed.
    pub(crate) is_explaining: bool,
    /// The output to stdout.
    pub(crate) output: Output,
    /// The output to stderr.
    pub(crate) progress: Progress,
    /// The settings of the working folder.
    pub(crate) project: Project,
    /// The settings, each from its strongest source.
    pub(crate) settings: Settings,
    /// The result of the app's selection, independent of other mistakes in `devanture.toml`.
    chosen: Result<(), Failure>,
}

impl Context {
    /// Gathers the context; mistakes of a `devanture.toml` are returned beside it, and the file then counts as empty.
    pub(crate) fn new(common: &Common, environment: BTreeMap<String, String>) -> (Self, Result<(), ProjectError>) {
        let (mut project, read) = Project::read(common.config.as_deref(), common.root.as_deref());
        let flags = common.flags();
        let app = flags.get(&Name::App).or_else(|| environment.get(Name::App.variable())).map(String::as_str);
        let chosen = project.choose(app);
        let chosen = project.unusable.clone().map_or(chosen, Err);
        // Mistakes of the file itself come first.
        let read = read.and_then(|()| chosen.clone());
        let settings = Settings::gather(&Sources {
            flags: &flags,
            environment: &environment,
            app_dotenv: &project.app_dotenv,
            dotenv: &project.dotenv,
            site: &project.site,
            site_file_name: &project.file_name,
            has_site_file: project.exists,
        });
        let chosen = chosen.map_err(Failure::from);
        let style = Style::of(&environment, io::stdout().is_terminal());
        let volume = common.output.volume();
        let output = Output { is_json: common.output.json, is_quiet: volume == Volume::Quiet, style };
        let progress = Progress::new(&environment, volume);
        if common.output.explain {
            let lines = settings.explained().into_iter().chain(settings.explained_proxy(&environment));
            lines.for_each(|line| progress.line(&line));
            project.passed_over.iter().for_each(|line| progress.line(line));
        }
        let is_explaining = common.output.explain;
        (Self { environment, is_explaining, output, progress, project, settings, chosen }, read)
    }

    /// Ignores `read`, mistakes of the project files, for a command that needs only the app and the address of the
    /// edge; with `is_of_the_edge` the command needs no app.
    ///
    /// # Errors
    /// `read`, if the rest of the settings is not enough.
    pub(crate) fn despite(&self, read: Result<(), Failure>, is_of_the_edge: bool) -> Result<(), Failure> {
        let Err(failure) = read else { return Ok(()) };
        self.chosen.clone()?;
        if !is_of_the_edge && !matches!(self.settings.explicit_app(), Ok(Some(_))) {
            return Err(failure);
        }
        self.progress.note(&format!("{} `devanture check` shows what a push would refuse.", failure.message));
        Ok(())
    }

    /// Returns the edge of the settings.
    ///
    /// # Errors
    /// An error if a setting is missing, cannot be read, or conflicts with another setting.
    pub(crate) fn edge(&self) -> Result<Edge, Failure> {
        Ok(Edge::new(self.link()?, self.settings.app()?.value))
    }

    /// Returns the edge, for an app named by the command itself.
    ///
    /// # Errors
    /// Like [`Context::edge`], and `usage` if the settings name a different app.
    pub(crate) fn edge_of(&self, app: AppName) -> Result<Edge, Failure> {
        match self.settings.explicit_app()? {
            Some(setting) if setting.value != app => {
                let message = format!("The settings name the app {}, and the command {app}.", setting.value);
                Err(Failure::new(Code::Usage, message).hint(match setting.source {
                    Source::Flag => "leave --app out, or name the same app".to_owned(),
                    _ => format!("add `--app {app}` if that one is meant"),
                }))
            }
            _ => Ok(Edge::new(self.link()?, app)),
        }
    }

    /// Returns the link to the edge of the settings, for requests that do not concern a single app.
    ///
    /// # Errors
    /// Like [`Context::edge`].
    pub(crate) fn link(&self) -> Result<Link, Failure> {
        Link::new(&self.settings.edge_access()?, self.progress.clone())
    }

    /// Returns the environment of the settings.
    ///
    /// # Errors
    /// An error if the name is invalid.
    pub(crate) fn place(&self) -> Result<PlaceName, Failure> {
        Ok(self.settings.environment()?.value)
    }

    /// Returns the flags that select the same app and environment in a further command.
    pub(crate) fn again(&self) -> Again {
        let env = self.settings.environment().ok();
        let env = env.filter(|s: &Setting<_>| s.source == Source::Flag).map(|s| format!(" --env {}", s.value));
        Again([self.app_again(), env].into_iter().flatten().collect())
    }

    /// Returns the flags that select an environment of the same app in a further command.
    pub(crate) fn again_in(&self, environment: &PlaceName) -> Again {
        let env = (!environment.is_prod()).then(|| format!(" --env {environment}"));
        Again([self.app_again(), env].into_iter().flatten().collect())
    }

    /// Returns the flags that select the same app in a further command.
    pub(crate) fn again_of_app(&self) -> Again {
        Again(self.app_again().unwrap_or_default())
    }

    fn app_again(&self) -> Option<String> {
        let app = self.settings.explicit_app().ok().flatten();
        app.filter(|s| s.source == Source::Flag).map(|s| format!(" --app {}", s.value))
    }
}
