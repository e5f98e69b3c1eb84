//! Errors of one entry of a table, from a file or from a manifest of the API.

/// One thing that is wrong with an entry: at which key, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistaken {
    /// The key.
    pub key: &'static str,
    /// The error, as the rest of a sentence that begins with the key.
    pub message: String,
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
