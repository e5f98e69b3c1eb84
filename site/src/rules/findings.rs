//! What is wrong with rules, as it is found while they are read and compared.

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::rules::At;

/// Collects what is wrong with rules.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Mistake>);

impl Findings {
    /// Errors: text that cannot be parsed or meant.
    pub fn mistake(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Mistake, message.into(), hint);
    }

    /// Warnings: text that the provider itself accepts, or silently drops.
    pub fn doubt(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Doubt, message.into(), hint);
    }

    fn add(&mut self, at: &At, weight: Weight, message: String, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.0.push(Mistake { file: at.file.to_string(), line: at.line, weight, message, hint });
    }
}
