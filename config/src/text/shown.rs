//! Untrusted texts within a sentence.

/// Maximum number of characters of a text in a message.
const CHARACTERS_MAX: usize = 80;

/// Returns the beginning of a text, for use in a sentence.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}
