//! Prints the steps of the edge as they arrive.

use devanture_config::api::{Step, StepState};

use super::progress::{Progress, Working};
use super::report;
use super::terminal::escaped;

/// Prints steps, one after the other.
pub(crate) struct StepOutput<'p> {
    progress: &'p Progress,
    working: Option<Working<'p>>,
    /// The steps to print; `None` for all.
    only: Option<&'static [&'static str]>,
    /// Set if a live version was changed.
    pub(crate) has_switched: bool,
}

impl<'p> StepOutput<'p> {
    /// Tells every step.
    pub(crate) fn all(progress: &'p Progress) -> Self {
        let working = Some(progress.working("finish", "waiting for the edge"));
        Self { progress, working, only: None, has_switched: false }
    }

    /// Prints the steps of instances and the checks before a switch, and the watch after it; the command itself prints
    /// the switch.
    pub(crate) fn of_gate(progress: &'p Progress) -> Self {
        Self {
            progress,
            working: None,
            only: Some(&["prepare", "release", "smoke", "first", "watch"]),
            has_switched: false,
        }
    }

    /// Prints a step.
    pub(crate) fn print(&mut self, step: &Step) {
        self.has_switched |= step.name == "switch" && step.state == StepState::Done;
        if self.only.is_some_and(|only| !only.contains(&step.name.as_str())) {
            return;
        }
        // The readiness of nodes is printed only for a push, as one of many steps.
        if self.only.is_some() && step.name == "prepare" && step.state == StepState::Done {
            drop(self.working.take());
            return;
        }
        // The previous step has to leave the line first.
        drop(self.working.take());
        // Reports about instances may contain their output.
        let step = &Step { detail: escaped(&step.detail), ..step.clone() };
        let is_of_instances = matches!(step.name.as_str(), "prepare" | "release");
        // The number of compressed pages is shown only on a terminal.
        let is_passing = step.name == "compress";
        let is_line = is_of_instances || step.name == "smoke" || !(is_passing || self.progress.has_bars());
        match step.state {
            StepState::Started if step.detail.is_empty() || !is_line => {
                self.working = Some(self.progress.working(&step.name, &step.detail));
            }
            // The progress so far.
            StepState::Started => {
                self.progress.step(&step.name, &step.detail);
                // Further instances may still take long.
                self.working = is_of_instances.then(|| self.progress.working(&step.name, ""));
            }
            StepState::Done | StepState::Skipped | StepState::Failed => {
                self.progress.step(&step.name, &report::step_text(self.progress.style, step));
            }
        }
    }
}
