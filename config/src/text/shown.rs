//! Texts of strangers in the middle of a sentence.

/// Most characters of a text that a message shows.
const CHARACTERS_MAX: usize = 80;

/// The beginning of a text, as it may stand in a sentence.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}
