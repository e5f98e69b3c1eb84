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
    /// The environment of the process, as it was at the start.
    pub(crate) environment: BTreeMap<String, String>,
    /// Whether it is to be said where each value comes from.
    pub(crate) is_explaining: bool,
    /// Where stdout is written.
    pub(crate) output: Output,
    /// Where stderr is written.
    pub(crate) progress: Progress,
    /// The settings of the working folder.
    pub(crate) project: Project,
    /// The settings, each from its strongest source.
    pub(crate) settings: Settings,
    /// Whether it is known which app is meant, whatever else is wrong with `devanture.toml`.
    chosen: Result<(), Failure>,
}

impl Context {
    /// Gathers everything; what is wrong with a `devanture.toml` comes back beside it, as if that said nothing.
    pub(crate) fn new(common: &Common, environment: BTreeMap<String, String>) -> (Self, Result<(), ProjectError>) {
        let (mut project, read) = Project::read(common.config.as_deref(), common.root.as_deref());
        let flags = common.flags();
        let app = flags.get(&Name::App).or_else(|| environment.get(Name::App.variable())).map(String::as_str);
        let chosen = project.choose(app);
        let chosen = project.unusable.clone().map_or(chosen, Err);
        // What is wrong with the file itself comes first.
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

    /// `read`, what is wrong with the files of the project, as far as it keeps a command from its work that needs of
    /// them only which app is meant, unless it `is_of_the_edge`, and where its edge is.
    ///
    /// # Errors
    /// As `read`, where the rest does not say what is needed.
    pub(crate) fn despite(&self, read: Result<(), Failure>, is_of_the_edge: bool) -> Result<(), Failure> {
        let Err(failure) = read else { return Ok(()) };
        self.chosen.clone()?;
        if !is_of_the_edge && !matches!(self.settings.explicit_app(), Ok(Some(_))) {
            return Err(failure);
        }
        self.progress.note(&format!("{} `devanture check` shows what a push would refuse.", failure.message));
        Ok(())
    }

    /// The edge that the settings name.
    ///
    /// # Errors
    /// Where a setting is missing, cannot be read, or may not go together with another.
    pub(crate) fn edge(&self) -> Result<Edge, Failure> {
        Ok(Edge::new(self.link()?, self.settings.app()?.value))
    }

    /// The edge, for an app that a command itself names.
    ///
    /// # Errors
    /// As [`Context::edge`], and `usage` where the settings name another app.
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

    /// The way to the edge that the settings name, for what concerns no app alone.
    ///
    /// # Errors
    /// As [`Context::edge`].
    pub(crate) fn link(&self) -> Result<Link, Failure> {
        Link::new(&self.settings.edge_access()?, self.progress.clone())
    }

    /// The environment that the settings name.
    ///
    /// # Errors
    /// Where it is no name.
    pub(crate) fn place(&self) -> Result<PlaceName, Failure> {
        Ok(self.settings.environment()?.value)
    }

    /// The flags that a person has to give again to mean the same app and environment.
    pub(crate) fn again(&self) -> Again {
        let env = self.settings.environment().ok();
        let env = env.filter(|s: &Setting<_>| s.source == Source::Flag).map(|s| format!(" --env {}", s.value));
        Again([self.app_again(), env].into_iter().flatten().collect())
    }

    /// The flags that a person has to give to mean an environment of the same app.
    pub(crate) fn again_in(&self, environment: &PlaceName) -> Again {
        let env = (!environment.is_prod()).then(|| format!(" --env {environment}"));
        Again([self.app_again(), env].into_iter().flatten().collect())
    }

    /// The flags that a person has to give again to mean the same app.
    pub(crate) fn again_of_app(&self) -> Again {
        Again(self.app_again().unwrap_or_default())
    }

    fn app_again(&self) -> Option<String> {
        let app = self.settings.explicit_app().ok().flatten();
        app.filter(|s| s.source == Source::Flag).map(|s| format!(" --app {}", s.value))
    }
}
