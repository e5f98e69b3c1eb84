//! Shared by the tests of both providers' files: expected findings in tables, and their comparison.

use devanture_config::parsing::Weight;

use super::Findings;

/// An expected finding: its line number, `m` for a mistake or `d` for a doubt, and a part of the message.
pub(super) type ExpectedFinding<'s> = (usize, char, &'s str);

/// Fails unless exactly the expected findings are present.
pub(super) fn assert_findings(text: &str, findings: &Findings, expected: &[ExpectedFinding<'_>]) {
    let found = findings.0.iter().map(|finding| (finding.line, finding.weight, finding.message.as_str()));
    let found: Vec<_> = found.collect();
    let matches = found.len() == expected.len()
        && found.iter().zip(expected).all(|((line, weight, message), (wanted, letter, part))| {
            let weighs = if *letter == 'm' { Weight::Mistake } else { Weight::Doubt };
            line == wanted && *weight == weighs && message.contains(part)
        });
    assert!(matches, "{text}\nsaid {found:#?}\nexpected {expected:#?}");
}

/// The hint of the first finding.
pub(super) fn hint(findings: &Findings) -> &str {
    findings.0[0].hint.as_deref().unwrap_or_default()
}
