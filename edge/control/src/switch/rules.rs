//! Checks of rules before a switch: invalid or doubtful rules hold back a version.

use std::ops::Deref;

use devanture_config::parsing::{Mistake, Weight};
use devanture_config::problem::{Code, Problem};
use devanture_config::{AppName, Manifest, PlaceName, VersionId};
use devanture_site::rules;

use super::switcher::Switcher;
use crate::ledger::Error;
use devanture_serve::version::RuleFiles;

/// Tolerated findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// None.
    Nothing,
    /// Doubtful rules.
    Doubts,
}

impl Switcher {
    /// Checks the rules of a bundle for `environment`. Returns the tolerated doubts.
    ///
    /// # Errors
    /// `bad_rules` with every mistake, or `warnings` with every doubt.
    pub(crate) async fn check_rules(
        &self,
        (app, environment): (&AppName, &PlaceName),
        manifest: impl Deref<Target = Manifest> + Send + Sync + 'static,
        tolerance: Tolerance,
    ) -> Result<Vec<Mistake>, Error> {
        let reader = self.loader.rule_memory().reader(app, environment.as_str());
        let files = RuleFiles::read(&*self.blobs, &manifest, &reader).await?;
        let rules_max = usize::try_from(self.ledger.limits().rules_max).unwrap_or(usize::MAX);
        let environment = environment.clone();
        // Runs on a blocking thread: thousands of rules are compared with each other.
        let check = move || {
            let mut findings: Vec<Mistake> = Vec::new();
            for table in rules::tables_checked(&manifest, environment.as_str()) {
                let found = files.findings(&manifest, table, rules_max);
                findings.extend(found.into_iter().filter(|finding| !findings.contains(finding)).collect::<Vec<_>>());
            }
            findings
        };
        let findings = tokio::task::spawn_blocking(check).await;
        let findings = findings.map_err(|error| {
            tracing::error!(%error, "rules could not be checked");
            Problem::new(Code::Internal, "The rules could not be checked.")
        })?;
        judge(findings, tolerance)
    }

    /// As [`Switcher::check_rules`], for a stored version, whose doubts were settled at its push.
    ///
    /// # Errors
    /// `bad_rules`.
    pub(crate) async fn check_stored_rules(
        &self,
        (app, environment): (&AppName, &PlaceName),
        version: VersionId,
    ) -> Result<(), Error> {
        let manifest = self.ledger.manifest(&*self.blobs, app, version).await?;
        self.check_rules((app, environment), manifest, Tolerance::Doubts).await.map(drop)
    }
}

fn judge(mut findings: Vec<Mistake>, tolerance: Tolerance) -> Result<Vec<Mistake>, Error> {
    let has_mistakes = findings.iter().any(|finding| finding.weight == Weight::Mistake);
    if findings.is_empty() || (!has_mistakes && tolerance == Tolerance::Doubts) {
        return Ok(findings);
    }
    // Errors come first.
    findings.sort_by_key(|finding| finding.weight == Weight::Doubt);
    let count = findings.len();
    let first = findings.first().map(ToString::to_string).unwrap_or_default();
    let more = if count > 1 { format!(" ({} more)", count - 1) } else { String::new() };
    let problem = match has_mistakes {
        true => Problem::new(Code::BadRules, format!("The rules hold mistakes: {first}{more}."))
            .hint("`devanture check` lists them all with their lines"),
        false => Problem::new(Code::Warnings, format!("The rules may not mean what they say: {first}{more}."))
            .hint("`devanture check` lists them all; --allow-warnings lets them pass"),
    };
    Err(problem.with_mistakes(findings).into())
}
