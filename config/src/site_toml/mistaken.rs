//! Errors of a table's entry, from a file or from a manifest of the API.

/// Error of an entry, with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryMistake {
    /// Key.
    pub key: &'static str,
    /// Error, as the rest of a sentence that begins with the key.
    pub message: String,
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
