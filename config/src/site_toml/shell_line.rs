//! `Procfile` line as run by a shell: a single command replaces the shell, so signals reach the command, and its end is
//! the end of the process.

/// Words with a special meaning to a shell, or different from the program of the same name (POSIX.1-2024 §2.4, §2.15,
/// and additions of bash and dash); sorted.
const OF_THE_SHELL: &[&str] = &[
    ".", ":", "alias", "bg", "break", "builtin", "case", "cd", "command", "continue", "declare", "do", "done", "echo",
    "elif", "else", "esac", "eval", "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function", "getopts",
    "hash", "if", "in", "jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly", "return", "select", "set",
    "shift", "source", "test", "then", "time", "times", "trap", "true", "type", "ulimit", "umask", "unset", "until",
    "wait", "while",
];

/// Returns the words that run `line` in a shell. A single command replaces the shell: Debian's `sh` otherwise remains
/// as a parent.
pub(super) fn in_shell(line: &str) -> Vec<String> {
    let line = match program_at(line).and_then(|at| line.split_at_checked(at)) {
        Some((assignments, program)) => format!("{assignments}exec {program}"),
        None => line.to_owned(),
    };
    vec!["/bin/sh".to_owned(), "-c".to_owned(), line]
}

/// Returns the position of the program in a line of a single simple command (POSIX.1-2024 §2.9.1), after its
/// assignments; `None` for all other or unclear lines.
fn program_at(line: &str) -> Option<usize> {
    for at in words(line)? {
        let rest = line.get(at..)?;
        let word = rest.split([' ', '\t']).next()?;
        if is_assignment(word) {
            // Blanks in a substitution do not divide words.
            if word.contains('(') {
                return None;
            }
            continue;
        }
        let is_plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"%+,-./:@^_~".contains(&byte));
        return (is_plain && OF_THE_SHELL.binary_search(&word).is_err()).then_some(at);
    }
    None
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_name) && !name.starts_with(|first: char| first.is_ascii_digit())
}

/// Returns the positions of a line's words; `None` if an operator or a substitution may add commands.
fn words(line: &str) -> Option<Vec<usize>> {
    let (mut begins, mut is_within, mut quote, mut before) = (Vec::new(), false, None, ' ');
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        let begins_substitution = || line.get(at..).is_some_and(|rest| rest.starts_with("$("));
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => {
                characters.next()?;
            }
            (_, '`') => return None,
            // Quotes within a quoted substitution are separate.
            (Some(_), '$') if begins_substitution() => return None,
            (Some(_), _) => {}
            (None, ' ' | '\t') => {
                (is_within, before) = (false, ' ');
                continue;
            }
            (None, '\'' | '"') => quote = Some(character),
            (None, '#') if !is_within => break,
            // A copy of a descriptor, as in `2>&1`.
            (None, '&') if matches!(before, '<' | '>') => {}
            (None, '(') if before == '$' => {}
            (None, '&' | '(' | ';' | '|' | '\n') => return None,
            (None, _) => {}
        }
        if !std::mem::replace(&mut is_within, true) {
            begins.push(at);
        }
        before = character;
    }
    quote.is_none().then_some(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the line for the shell.
    fn run(line: &str) -> String {
        in_shell(line).remove(2)
    }

    #[test]
    fn a_single_command_takes_the_place_of_the_shell() {
        for (line, expected) in [
            ("node server.js --port $PORT", "exec node server.js --port $PORT"),
            ("npm start", "exec npm start"),
            ("./bin/run", "exec ./bin/run"),
            ("~/run", "exec ~/run"),
            ("gunicorn --workers $(nproc) app:app", "exec gunicorn --workers $(nproc) app:app"),
            ("node a.js 2>&1", "exec node a.js 2>&1"),
            ("node a.js >log 2>&1", "exec node a.js >log 2>&1"),
            ("node a.js # ours; and more", "exec node a.js # ours; and more"),
            ("echoes 'a; b' \"c | d\" e\\;f", "exec echoes 'a; b' \"c | d\" e\\;f"),
            ("NODE_ENV=production node a.js", "NODE_ENV=production exec node a.js"),
            ("A=1  B='2 3' node a.js", "A=1  B='2 3' exec node a.js"),
            ("A=1 B=${C:-2} node a.js", "A=1 B=${C:-2} exec node a.js"),
            ("bundle exec puma", "exec bundle exec puma"),
        ] {
            assert_eq!(run(line), expected);
        }
    }

    #[test]
    fn everything_else_is_left_to_the_shell() {
        for line in [
            "cd app && node a.js",
            "migrate; node a.js",
            "node a.js | tee log",
            "node a.js &",
            "node a.js &>log",
            "node a.js & wait",
            "(node a.js)",
            "{ node a.js; }",
            "! node a.js",
            "exec node a.js",
            "if a; then b; fi",
            ". ./env",
            "export A=1",
            "A=1",
            "A=$(date +%s) node a.js",
            "A=\"$(echo \"b\" ; c)\" d",
            "node \"$(echo \")\" ; a\"",
            "node `a`",
            "$PROGRAM a",
            "\"my program\" a",
            "node 'a",
            "node a\\",
            ">log node a.js",
            "[ -e a ]",
            "# nothing",
        ] {
            assert_eq!(run(line), line);
        }
        assert!(OF_THE_SHELL.is_sorted());
    }

    proptest! {
        #[test]
        fn any_line_stays_what_it_is_but_for_one_word(line in "(a|A=|exec| |'|\"|\\$|\\(|\\)|;|&|>|`|\\\\|#|é){0,12}") {
            let run = run(&line);
            let with_word = |at: usize| Some(format!("{}exec {}", line.get(..at)?, line.get(at..)?));
            prop_assert!(run == line || (0..line.len()).filter_map(with_word).any(|with_word| with_word == run));
        }
    }
}
