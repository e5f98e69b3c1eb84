//! Values in configuration files that are programs, such as `outDir` of `vite.config.ts`, and flags in scripts.
//!
//! The programs are not run: literal texts and words are read, and the rest counts as computed.

use std::iter::Peekable;
use std::str::Chars;

/// The value of a key in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text in quotes.
    Text(String),
    /// A word without quotes, such as `false`.
    Word(String),
    /// An expression with a value that only a run of the configuration would tell.
    Computed,
}

impl Value {
    /// The text, or the word.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            Self::Computed => None,
        }
    }
}

/// Returns the first value of `key` in a text of JavaScript, TypeScript, JSON, TOML or YAML; `None` if the key is
/// missing.
pub(super) fn value_of(text: &str, key: &str) -> Option<Value> {
    let text = without_comments(text);
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let (token, after) = token(rest, first);
        if token == key
            && let Some(value) = value_after(after)
        {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Returns a name, or a text without its quotes, at the beginning of `rest`, and the text behind; otherwise empty.
fn token(rest: &str, first: char) -> (&str, &str) {
    let is_part = |c: char| c.is_alphanumeric() || "_$-.".contains(c);
    let behind = rest.get(first.len_utf8()..).unwrap_or_default();
    if "'\"`".contains(first) {
        let (text, after) = behind.split_at(quoted_bytes(behind, first));
        return (text, after.strip_prefix(first).unwrap_or(after));
    }
    match rest.find(|c| !is_part(c)) {
        Some(0) => ("", behind),
        end => rest.split_at(end.unwrap_or(rest.len())),
    }
}

/// The number of bytes before the closing quote, or before the end of the line without one.
fn quoted_bytes(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\n' if quote != '`' => return at,
            _ if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}

/// Returns the value behind a key, if any.
fn value_after(after: &str) -> Option<Value> {
    let after = after.trim_start().strip_prefix([':', '='])?.trim_start_matches([' ', '\t']);
    // A comparison, or an arrow.
    if after.starts_with(['=', '>']) {
        return None;
    }
    let after = after.trim_start();
    let first = after.chars().next()?;
    if "'\"`".contains(first) {
        return Some(quoted(after.chars().skip(1), first));
    }
    let word: String = after.chars().take_while(|c| c.is_alphanumeric() || "_-./".contains(*c)).collect();
    let end = after.get(word.len()..)?.trim_start_matches([' ', '\t', '\r']);
    let is_whole = !word.is_empty() && (end.is_empty() || end.starts_with([',', '}', ';', '\n', ')', ']']));
    Some(if is_whole { Value::Word(word) } else { Value::Computed })
}

/// Returns the text up to the closing quote; computed, if the text is part of an expression or contains one.
fn quoted(mut rest: impl Iterator<Item = char>, quote: char) -> Value {
    let mut text = String::new();
    loop {
        match rest.next() {
            None | Some('\n') => return Value::Computed,
            Some('\\') => text.extend(rest.next()),
            Some('$') if quote == '`' => return Value::Computed,
            Some(c) if c == quote => break,
            Some(c) => text.push(c),
        }
    }
    match rest.find(|c| !c.is_whitespace()) {
        Some('+' | '.' | '?' | '|' | '&') => Value::Computed,
        _ => Value::Text(text),
    }
}

/// Returns the text without comments of JavaScript; text like a comment inside of quotes stays.
pub(super) fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' | '`' => {
                kept.push(c);
                keep_quoted(&mut rest, c, &mut kept);
            }
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                rest.next();
                for c in rest.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                kept.push(' ');
            }
            // TOML and YAML; in JavaScript the character begins the name of a private field.
            '#' if kept.is_empty() || kept.ends_with(char::is_whitespace) => {
                while rest.next_if(|c| *c != '\n').is_some() {}
            }
            _ => kept.push(c),
        }
    }
    kept
}

fn keep_quoted(rest: &mut Peekable<Chars<'_>>, quote: char, kept: &mut String) {
    while let Some(c) = rest.next() {
        kept.push(c);
        match c {
            '\\' => kept.extend(rest.next()),
            // An apostrophe, or a text without an end: the rest is read as if the text had not begun.
            '\n' if quote != '`' => return,
            _ if c == quote => return,
            _ => {}
        }
    }
}

/// Returns the commands of a shell script, each as its words without quotes.
pub(super) fn commands(script: &str) -> Vec<Vec<String>> {
    let words = script.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
    let mut commands = vec![Vec::new()];
    for word in words {
        match word {
            "&&" | "||" | "|" | ";" | "&" => commands.push(Vec::new()),
            _ => commands.last_mut().into_iter().for_each(|command| command.push(word.to_owned())),
        }
    }
    commands
}

/// Returns the value of the first of the flags `names` in a command: `--out-dir x` or `--out-dir=x`.
pub(super) fn flag_of(command: &[String], names: &[&str]) -> Option<String> {
    command.iter().enumerate().find_map(|(number, word)| {
        if names.contains(&word.as_str()) {
            return command.get(number + 1).filter(|value| !value.starts_with('-')).cloned();
        }
        let (name, value) = word.split_once('=')?;
        names.contains(&name).then(|| value.trim_matches(['\'', '"']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Option<Value> {
        Some(Value::Text(text.to_owned()))
    }

    #[test]
    fn a_text_is_read_and_what_is_computed_is_not_guessed() {
        for (config, value) in [
            ("export default { build: { outDir: 'web' } }", text("web")),
            ("export default {\n  \"outDir\" : \"../web\",\n}", text("../web")),
            ("config.outDir = `web`;", None),
            ("const outDir = `web`;", text("web")),
            ("outDir: `${root}/web`", Some(Value::Computed)),
            ("outDir: path.resolve(__dirname, 'web')", Some(Value::Computed)),
            ("outDir: 'web' + suffix", Some(Value::Computed)),
            ("outDir: isProduction ? 'a' : 'b'", Some(Value::Computed)),
            ("outDir: false,", Some(Value::Word("false".to_owned()))),
            ("// outDir: 'old'\n/* outDir: 'older' */ outDir: 'web'", text("web")),
            ("title: 'http://x // outDir: \"no\"', outDir: 'web'", text("web")),
            ("myoutDir: 'no', outDirs: 'no', outDir === 'no'", None),
            ("outDir = \"web\" # a comment", text("web")),
            ("# outDir = \"old\"\noutDir = 'web'", text("web")),
            ("[build]\n\t# outDir = \"old\"\n\toutDir = 'web'\t# outDir = 'older'", text("web")),
            ("note: \"it's outDir: 'no'\", outDir: 'web'", text("web")),
            ("outDir: web\n", Some(Value::Word("web".to_owned()))),
            ("", None),
        ] {
            assert_eq!(value_of(config, "outDir"), value, "{config}");
        }
    }

    #[test]
    fn a_flag_of_a_script_is_read_in_both_forms() {
        let commands = commands("tsc -b && vite build --outDir \"web\" --mode x; echo --outDir=no");
        assert_eq!(commands.len(), 2);
        assert_eq!(flag_of(&commands[1], &["--outDir"]).as_deref(), Some("web"));
        assert_eq!(flag_of(&["--output=web".to_owned()], &["--output"]).as_deref(), Some("web"));
        assert_eq!(flag_of(&["--output".to_owned(), "--quiet".to_owned()], &["--output"]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[ -~\n]{0,80}|\\PC{0,40}") {
            value_of(&text, "a");
            prop_assert!(without_comments(&text).len() <= text.len() + 1);
        }

        #[test]
        fn a_folder_in_quotes_is_read_whatever_stands_before_it(
            folder in "[a-z./_-]{1,12}", before in "[a-z{},: \n]{0,30}",
        ) {
            let config = format!("{before}\n outDir: '{folder}',\n base: '/'");
            prop_assert_eq!(value_of(&config, "outDir"), Some(Value::Text(folder)));
        }
    }
}
