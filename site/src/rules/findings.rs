//! Findings about rules, collected while rules are parsed and compared.

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::rules::At;

/// Collects findings about rules.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Mistake>);

impl Findings {
    /// Adds an error: text that cannot be parsed or intended.
    pub fn mistake(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Mistake, message.into(), hint);
    }

    /// Adds a warning: text that the provider itself accepts, or silently drops.
    pub fn doubt(&mut self, at: &At, message: impl Into<String>, hint: Option<&str>) {
        self.add(at, Weight::Doubt, message.into(), hint);
    }

    fn add(&mut self, at: &At, weight: Weight, message: String, hint: Option<&str>) {
        let hint = hint.map(str::to_owned);
        self.0.push(Mistake { file: at.file.to_string(), line: at.line, weight, message, hint });
    }
}
