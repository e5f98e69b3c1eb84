//! `$PORT` and `$SOCKET` in the words of a command without a shell.

use std::path::Path;

/// Variables with the address of an instance.
const ADDRESSES: [&str; 2] = ["PORT", "SOCKET"];

/// Replaces `$PORT`, `${PORT}`, `$SOCKET` and `${SOCKET}` in `command` by the values from `value`.
///
/// Other variables stay literal: a secret in an argument would be visible to every process of the machine. The words of
/// a shell stay literal too, since a shell expands its own variables.
#[must_use]
pub fn expanded(command: &[String], value: impl Fn(&str) -> Option<String>) -> Vec<String> {
    if is_shell(command) {
        return command.to_vec();
    }
    let expand = |word: &String| {
        let mut expanded = String::with_capacity(word.len());
        let mut rest = word.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            rest = match variable(after).and_then(|(name, rest)| Some((value(name)?, rest))) {
                Some((value, rest)) => {
                    expanded.push_str(&value);
                    rest
                }
                None => {
                    expanded.push('$');
                    after
                }
            };
        }
        expanded.push_str(rest);
        expanded
    };
    command.iter().map(expand).collect()
}

/// Returns the first of `$PORT` and `$SOCKET` in `command`, without its dollar sign.
pub(super) fn address_in(command: &[String]) -> Option<&'static str> {
    if is_shell(command) {
        return None;
    }
    command.iter().flat_map(|word| word.split('$').skip(1)).find_map(|after| Some(variable(after)?.0))
}

/// Parses an address variable after a dollar sign, and returns the rest of the text.
fn variable(text: &str) -> Option<(&'static str, &str)> {
    ADDRESSES.iter().find_map(|name| {
        let rest = match text.strip_prefix('{') {
            Some(inner) => inner.strip_prefix(name)?.strip_prefix('}')?,
            None => text.strip_prefix(name)?,
        };
        let goes_on = !text.starts_with('{') && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        (!goes_on).then_some((*name, rest))
    })
}

fn is_shell(command: &[String]) -> bool {
    let program = command.first().and_then(|program| Path::new(program).file_name()?.to_str());
    matches!(program, Some("ash" | "bash" | "busybox" | "dash" | "fish" | "ksh" | "sh" | "zsh"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn with_port(text: &str) -> String {
        expanded(&words(text), |name| (name == "PORT").then(|| "4000".to_owned())).join(" ")
    }

    #[test]
    fn a_command_names_its_port() {
        assert_eq!(with_port("gunicorn -b 127.0.0.1:$PORT app"), "gunicorn -b 127.0.0.1:4000 app");
        assert_eq!(with_port("run --port=${PORT} $PORT$PORT"), "run --port=4000 40004000");
        // Other variables, variables without a value, and invalid names stay literal.
        for same in ["run $PORTS", "run $PORT_2", "run $SOCKET", "run $HOME", "run ${PORT", "run $", "run a$", "run $$"]
        {
            assert_eq!(with_port(same), same);
        }
        for shell in ["sh -c exec$PORT", "/bin/bash -c $PORT"] {
            assert_eq!(with_port(shell), shell);
        }
    }

    #[test]
    fn an_address_is_found_in_any_word() {
        for (text, found) in [
            ("run --port ${PORT}", Some("PORT")),
            ("run $SOCKET", Some("SOCKET")),
            ("run a$x$PORT", Some("PORT")),
            ("run $PORTS", None),
            ("sh -c $PORT", None),
        ] {
            assert_eq!(address_in(&words(text)), found, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_word_is_expanded_where_an_address_is_found(word in "(\\$|PORT|SOCKET|\\{|\\}|_|é| ){0,12}") {
            let command = ["run".to_owned(), word];
            let expanded = expanded(&command, |_| Some(String::new()));
            prop_assert_eq!(address_in(&command).is_some(), expanded != command);
        }
    }
}
