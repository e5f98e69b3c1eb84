//! Keys and texts in TOML, for files made by both programs.

use std::fmt::Write;

/// Returns a key, quoted if needed.
#[must_use]
pub fn key(text: &str) -> String {
    let is_bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_bare { text.to_owned() } else { quoted(text) }
}

/// Returns a basic string, in quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if character.is_control() => {
                // Writing to a string does not fail.
                write!(quoted, "\\u{:04X}", u32::from(character)).ok();
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_quoted_is_read_back(text in "\\PC{0,12}|[\\x00-\\x7f]{0,12}") {
            let written = format!("{} = {}\n", key(&text), quoted(&text));
            let read: toml::Table = written.parse().unwrap();
            prop_assert_eq!(read.get(&text).and_then(toml::Value::as_str), Some(text.as_str()));
        }
    }
}
