//! Issuers that serve everybody: which of their claims say whose an identity token is.
//!
//! A trust in such an issuer that names a branch alone would take the branch of every stranger's repository.

use std::collections::BTreeMap;

use super::{ClaimPattern, Issuer};

/// How far the text of a claim has to go in front of its first `*` to name an owner.
#[derive(Clone, Copy)]
enum Fixed {
    /// All of it: it has no `*`.
    All,
    /// Past the first `/`.
    Slash,
    /// Past the second `:`.
    TwoColons,
}

/// The hosts of issuers, with the claims that name an owner.
const OWNERS: [(&str, &[(&str, Fixed)]); 3] = [
    (
        "token.actions.githubusercontent.com",
        &[
            ("repository", Fixed::Slash),
            ("repository_id", Fixed::All),
            ("repository_owner", Fixed::All),
            ("repository_owner_id", Fixed::All),
            ("sub", Fixed::Slash),
        ],
    ),
    (
        "gitlab.com",
        &[
            ("namespace_id", Fixed::All),
            ("namespace_path", Fixed::All),
            ("project_id", Fixed::All),
            ("project_path", Fixed::Slash),
            ("sub", Fixed::Slash),
        ],
    ),
    (
        "agent.buildkite.com",
        &[("organization_id", Fixed::All), ("organization_slug", Fixed::All), ("sub", Fixed::TwoColons)],
    ),
];

/// Checks that the claims of a trust in an issuer that serves everybody name an owner.
///
/// # Errors
/// What is missing, as a clause.
pub(super) fn check(issuer: &Issuer, claims: &BTreeMap<String, Vec<ClaimPattern>>) -> Result<(), String> {
    let rest = issuer.as_str().strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
    let Some((_, owners)) = OWNERS.iter().find(|(known, _)| *known == host) else { return Ok(()) };
    let names_owner = |(claim, fixed): &(&str, Fixed)| {
        claims.get(*claim).is_some_and(|patterns| patterns.iter().all(|pattern| is_fixed(pattern, *fixed)))
    };
    if owners.iter().any(names_owner) {
        return Ok(());
    }
    let names: Vec<String> = owners.iter().map(|(claim, _)| format!("`{claim}`")).collect();
    Err(format!(
        "anybody has identity tokens of this issuer: name the owner, without `*`, in one of {}",
        names.join(", ")
    ))
}

fn is_fixed(pattern: &ClaimPattern, fixed: Fixed) -> bool {
    let part = pattern.fixed_part();
    !pattern.has_star()
        || match fixed {
            Fixed::All => false,
            Fixed::Slash => part.contains('/'),
            Fixed::TwoColons => part.matches(':').count() >= 2,
        }
}
