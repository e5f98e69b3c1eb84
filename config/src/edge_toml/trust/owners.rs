//! Issuers open to all: the claims that identify the owner of an identity token.
//!
//! A trust in an open issuer with a branch alone would accept the same branch of any stranger's repository.

use std::collections::BTreeMap;

use super::{ClaimPattern, Issuer};

/// Required extent of a claim pattern before the first `*` to name an owner.
#[derive(Clone, Copy)]
enum Fixed {
    /// The whole pattern: no `*`.
    All,
    /// Past the first `/`.
    Slash,
    /// Past the second `:`.
    TwoColons,
}

/// Hosts of open issuers, with the claims that name an owner.
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

/// Checks that a trust in an open issuer names an owner in the claims.
///
/// # Errors
/// The missing claim, as a clause.
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
