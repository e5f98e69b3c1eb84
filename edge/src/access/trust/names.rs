//! The names of tokens that are given in exchange for identity tokens.

/// What the name of a token begins with that a trust gave, …
pub(super) const TRUST_PREFIX: &str = "trust:";
/// … and that of a person, in the history and the audit log.
pub(super) const PERSON_PREFIX: &str = "oidc:";

/// Whether an exchange makes tokens of that name.
pub(crate) fn is_exchanged(name: &str) -> bool {
    name.starts_with(TRUST_PREFIX) || name.starts_with(PERSON_PREFIX)
}
