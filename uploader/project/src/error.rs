//! Errors of reading, checking or moving a project: data that each program prints in its own form.

use std::fmt;

use devanture_config::parsing::{Mistake, Mistakes};
use devanture_config::problem::Code;
use devanture_config::text::counted;

/// The reason why a project cannot be read, checked or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectError {
    /// The stable code.
    pub code: Code,
    /// The message, as a sentence.
    pub message: String,
    /// The hint.
    pub hint: Option<Box<str>>,
    /// Mistakes of files that are the reason, if any.
    pub mistakes: Box<[Mistake]>,
}

impl ProjectError {
    /// Makes an error with `code` and the sentence `message`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, mistakes: Box::default() }
    }

    /// Makes the error of a configuration file with mistakes.
    #[must_use]
    pub fn of_config(file: &str, mistakes: Mistakes) -> Self {
        // An overlay's mistakes do not belong to the main file.
        let mut files = mistakes.0.iter().map(|mistake| mistake.file.as_str());
        let first = files.next().unwrap_or(file);
        let file = if files.all(|other| other == first) { first } else { "The configuration" };
        let message = match mistakes.0.len() {
            1 => format!("{file} has a mistake."),
            count => format!("{file} has {}.", counted(count, "mistake")),
        };
        Self::new(Code::BadConfig, message).with_mistakes(mistakes.0)
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into());
        self
    }

    /// Adds mistakes of files.
    #[must_use]
    pub fn with_mistakes(mut self, mistakes: Vec<Mistake>) -> Self {
        self.mistakes = mistakes.into();
        self
    }

    /// Adds a second reason: the sentences are joined, and the mistakes of both are listed together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let message = format!("{} {}", self.message, other.message);
        let mistakes = self.mistakes.into_iter().chain(other.mistakes).collect();
        Self { message, mistakes, hint: self.hint.or(other.hint), ..self }
    }

    /// Returns true if the error has the code `code`.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code
    }
}

/// The sentence, and a line for each mistake.
impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.mistakes.iter().try_for_each(|mistake| write!(f, "\n{mistake}"))
    }
}

impl std::error::Error for ProjectError {}
