//! Text for a terminal, from any source: no text moves the cursor, hides text or reverses the direction.
//!
//! Names of files, keys of `devanture.toml`, rules, commits, and all texts of an edge or a backend may come from a
//! stranger. Such texts are formatted unchanged, and every output to a terminal goes through [`line`], so that no code
//! can forget to escape them. Until then colours are marks of a random form, which no stranger's text contains.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::LazyLock;

pub(crate) use devanture_config::text::plain_text::{escaped, json};

/// The start of an escape sequence.
static MARK: LazyLock<String> = LazyLock::new(|| {
    let [one, two] = [(); 2].map(|()| RandomState::new().build_hasher().finish());
    format!("\u{1b}{one:016x}{two:016x}:")
});
/// The end of an escape sequence.
const MARK_END: char = 'm';

/// Returns a mark for the following text, by the numbers of ECMA-48 §8.3.117 (`SGR`).
pub(crate) fn mark(numbers: &str) -> String {
    format!("{}{numbers}{MARK_END}", *MARK)
}

/// Formats a line for a terminal: marks become colours, and all other characters that are not plain become numbers in
/// braces, including line ends.
pub(crate) fn line(text: &str) -> String {
    let mut parts = text.split(MARK.as_str());
    let mut line = parts.next().map(escaped).unwrap_or_default();
    for part in parts {
        let is_number = |numbers: &str| numbers.chars().all(|c| c.is_ascii_digit() || c == ';');
        match part.split_once(MARK_END) {
            Some((numbers, rest)) if is_number(numbers) => {
                line.extend(["\u{1b}[", numbers, "m"]);
                line.push_str(&escaped(rest));
            }
            _ => line.push_str(&escaped(part)),
        }
    }
    line
}

/// Formats lines for a terminal.
pub(crate) fn lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> String {
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use devanture_config::text::plain_text::is_plain;
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
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn a_mark_is_a_colour_and_cannot_be_made_up() {
        let marked = format!("{}good{} \u{1b}[31mnot", mark("1;32"), mark("0"));
        assert_eq!(line(&marked), "\u{1b}[1;32mgood\u{1b}[0m \\u{1b}[31mnot");
        let of_another_run = format!("\u{1b}{}:1;32m", "0".repeat(32));
        assert!(line(&of_another_run).starts_with("\\u{1b}0000"));
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "\u{9b}a": "\u{1b}[2J\u{202e}\u{7f}\u{e0041}\n é \\ \"" });
        let shown = json(&value.to_string());
        assert!(shown.chars().all(is_plain), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    proptest! {
        #[test]
        fn no_text_speaks_to_a_terminal(text in ".{0,40}|[\\x00-\\x1f\u{7f}-\u{9f}\u{ad}\u{61c}\u{200b}-\u{206f}\u{feff}m0-9;:\\[]{0,40}") {
            for shown in [line(&text), escaped(&text), lines([text.as_str()])] {
                prop_assert!(shown.chars().all(is_plain), "{:?}", shown);
            }
            let value = serde_json::Value::String(text);
            let shown = json(&value.to_string());
            prop_assert!(shown.chars().all(is_plain), "{:?}", shown);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
