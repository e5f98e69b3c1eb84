//! Issuers open to all: the claims that identify the owner of an identity token.
//!
//! A trust in an open issuer with a branch alone would accept the same branch of any stranger's repository.

use std::collections::BTreeMap;

use super::{ClaimPattern, Issuer};

/// Required extent of a claim pattern before the first `*` to name an owner.
#[derive(Clone, Copy)]
enum RequiredPrefix {
    /// The whole pattern: no `*`.
    All,
    /// Past the first `/`.
    Slash,
    /// Past the second `:`.
    TwoColons,
}

/// Hosts of open issuers, with the claims that name an owner.
const OWNERS: [(&str, &[(&str, RequiredPrefix)]); 3] = [
    (
        "token.actions.githubusercontent.com",
        &[
            ("repository", RequiredPrefix::Slash),
            ("repository_id", RequiredPrefix::All),
            ("repository_owner", RequiredPrefix::All),
            ("repository_owner_id", RequiredPrefix::All),
            ("sub", RequiredPrefix::Slash),
        ],
    ),
    (
        "gitlab.com",
        &[
            ("namespace_id", RequiredPrefix::All),
            ("namespace_path", RequiredPrefix::All),
            ("project_id", RequiredPrefix::All),
            ("project_path", RequiredPrefix::Slash),
            ("sub", RequiredPrefix::Slash),
        ],
    ),
    (
        "agent.buildkite.com",
        &[
            ("organization_id", RequiredPrefix::All),
            ("organization_slug", RequiredPrefix::All),
            ("sub", RequiredPrefix::TwoColons),
        ],
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
    let names_owner = |(claim, fixed): &(&str, RequiredPrefix)| {
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

fn is_fixed(pattern: &ClaimPattern, fixed: RequiredPrefix) -> bool {
    let part = pattern.fixed_part();
    !pattern.has_star()
        || match fixed {
            RequiredPrefix::All => false,
            RequiredPrefix::Slash => part.contains('/'),
            RequiredPrefix::TwoColons => part.matches(':').count() >= 2,
        }
}
