//! Untrusted texts for a terminal or a log: paths, names, branches, user agents, messages of backends. Escaped texts
//! never move the cursor, end the line, hide characters or reverse the direction.

use std::fmt::Write as _;

/// Returns the text with every character that is not plain as a number in braces, including line ends.
#[must_use]
pub fn escaped(text: &str) -> String {
    if is_all_plain(text) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match is_plain(character) {
            true => escaped.push(character),
            false => escaped.extend(character.escape_unicode()),
        }
    }
    escaped
}

/// Returns JSON with the same values, in which every character that is not plain is a JSON escape.
#[must_use]
pub fn json(text: &str) -> String {
    if is_all_plain(text) {
        return text.to_owned();
    }
    let mut json = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            json.push(character);
            continue;
        }
        // Outside of texts, JSON has no such characters except blanks, which are unnecessary.
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            write!(json, "\\u{unit:04x}").ok();
        }
    }
    json
}

/// Fast path: most texts are printable ASCII, checked without a loop over characters.
fn is_all_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || text.chars().all(is_plain)
}

/// Returns true if a character is visible and without side effects: no control (C0, DEL, C1), no end of a line or
/// paragraph, no `Bidi_Control`, and no `Default_Ignorable_Code_Point` except the variation selectors of emoji.
#[must_use]
pub fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_hides_or_turns_is_shown_as_a_number() {
        for (text, shown) in [
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("a\u{9b}31mb", "a\\u{9b}31mb"),
            ("a\r\nerror: b\tc\u{7f}\u{8}", "a\\u{d}\\u{a}error: b\\u{9}c\\u{7f}\\u{8}"),
            ("app\u{202e}txt.exe", "app\\u{202e}txt.exe"),
            ("pay\u{200b}pal\u{e0041}", "pay\\u{200b}pal\\u{e0041}"),
            ("bücher ❤\u{fe0f} 日本 — ok", "bücher ❤\u{fe0f} 日本 — ok"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_plain_and_json_keeps_its_values(
            text in ".{0,40}|[\\x00-\\x1f\u{7f}-\u{9f}\u{ad}\u{61c}\u{200b}-\u{206f}\u{feff}\u{e0041}m0-9;:\\[\"]{0,40}"
        ) {
            prop_assert!(escaped(&text).chars().all(is_plain));
            let value = serde_json::Value::String(text);
            let value_text = value.to_string();
            let shown = json(&value_text);
            prop_assert!(shown.chars().all(is_plain), "{:?}", shown);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
