//! Tells the steps of the edge as it takes them.

use devanture_config::api::{Step, StepState};

use super::progress::{Progress, Working};
use super::report;
use super::terminal::escaped;

/// Tells steps, one after the other.
pub(crate) struct StepOutput<'p> {
    progress: &'p Progress,
    working: Option<Working<'p>>,
    /// The steps to print; `None` is all of them.
    only: Option<&'static [&'static str]>,
    /// Whether what is live was changed.
    pub(crate) has_switched: bool,
}

impl<'p> StepOutput<'p> {
    /// Tells every step.
    pub(crate) fn all(progress: &'p Progress) -> Self {
        let working = Some(progress.working("finish", "waiting for the edge"));
        Self { progress, working, only: None, has_switched: false }
    }

    /// Tells what instances do and the checks before a switch, and the watch after it; the command itself says what was
    /// switched.
    pub(crate) fn of_gate(progress: &'p Progress) -> Self {
        Self {
            progress,
            working: None,
            only: Some(&["prepare", "release", "smoke", "first", "watch"]),
            has_switched: false,
        }
    }

    /// Tells one.
    pub(crate) fn print(&mut self, step: &Step) {
        self.has_switched |= step.name == "switch" && step.state == StepState::Done;
        if self.only.is_some_and(|only| !only.contains(&step.name.as_str())) {
            return;
        }
        // That nodes are ready is printed for a push only, where it is one of many steps.
        if self.only.is_some() && step.name == "prepare" && step.state == StepState::Done {
            drop(self.working.take());
            return;
        }
        // The one before has to leave the line first.
        drop(self.working.take());
        // Reports about instances may contain their output.
        let step = &Step { detail: escaped(&step.detail), ..step.clone() };
        let is_of_instances = matches!(step.name.as_str(), "prepare" | "release");
        // How many pages are made is for who looks on.
        let is_passing = step.name == "compress";
        let is_line = is_of_instances || step.name == "smoke" || !(is_passing || self.progress.has_bars());
        match step.state {
            StepState::Started if step.detail.is_empty() || !is_line => {
                self.working = Some(self.progress.working(&step.name, &step.detail));
            }
            // How it goes so far.
            StepState::Started => {
                self.progress.step(&step.name, &step.detail);
                // Others of them may take long yet.
                self.working = is_of_instances.then(|| self.progress.working(&step.name, ""));
            }
            StepState::Done | StepState::Skipped | StepState::Failed => {
                self.progress.step(&step.name, &report::step_text(self.progress.style, step));
            }
        }
    }
}
