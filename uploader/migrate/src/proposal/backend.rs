//! The backend beside the pages, and its start command.

use devanture_config::site_toml::SERVER_DIR;
use devanture_config::site_toml::procfile::PROCFILE;

use super::package::Package;
use super::tree::{Tree, join};

/// Variables from which servers of frameworks take the path of a socket: SvelteKit's adapter-node, and Nitro.
const SOCKET_VARIABLES: [&str; 2] = ["SOCKET_PATH", "NITRO_UNIX_SOCKET"];
/// Expressions that read variables in programs.
const READS: [&str; 4] = ["process.env", "os.environ", "getenv(", "env("];

/// The start of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backend {
    /// A command.
    Command(Vec<String>),
    /// A command with a program that listens on a given socket.
    OnSocket(Vec<String>),
    /// A `Procfile`.
    Procfile,
    /// An unknown command.
    Unknown,
}

/// Returns the backend in [`SERVER_DIR`]; `None` without such a folder.
pub(super) fn backend(tree: &dyn Tree) -> Option<Backend> {
    if !tree.is_folder(SERVER_DIR) {
        return None;
    }
    if tree.is_file(&join(SERVER_DIR, PROCFILE)) || tree.is_file(PROCFILE) {
        return Some(Backend::Procfile);
    }
    let words = |words: &[&str]| Some(started_by(tree, words));
    let package = Package::read(tree, SERVER_DIR);
    // Shell syntax, and programs that only npm's shell finds, are left to the user.
    if let Some(start) =
        package.script("start").filter(|start| start.starts_with("node ") && start.chars().all(is_plain))
    {
        return words(&start.split_whitespace().collect::<Vec<_>>());
    }
    let names = tree.names(SERVER_DIR);
    let first = |candidates: &[&str]| names.iter().find(|name| candidates.contains(&name.as_str())).cloned();
    let scripts: Vec<String> = ["server", "index", "main", "app", "entry"]
        .iter()
        .flat_map(|stem| ["js", "mjs", "cjs"].map(|ending| format!("{stem}.{ending}")))
        .collect();
    if let Some(script) = scripts.iter().find(|script| names.contains(script)) {
        return words(&["node", script]);
    }
    if let Some(script) = first(&["app.py", "main.py", "server.py"]) {
        return words(&["python3", &script]);
    }
    let mut programs = names.iter().filter(|name| tree.is_program(&join(SERVER_DIR, name)));
    match (programs.next(), programs.next()) {
        (Some(program), None) => words(&[&format!("./{program}")]),
        _ => Some(Backend::Unknown),
    }
}

/// Returns the backend started by `words`: on a socket, if the text of its program supports that.
fn started_by(tree: &dyn Tree, words: &[&str]) -> Backend {
    let command = |before: &[&str]| before.iter().chain(words).map(|word| (*word).to_owned()).collect();
    let program = words.iter().find_map(|word| tree.text(&join(SERVER_DIR, word))).unwrap_or_default();
    if reads(&program, "SOCKET") {
        return Backend::OnSocket(command(&[]));
    }
    match SOCKET_VARIABLES.into_iter().find(|name| reads(&program, name)) {
        // Set by env(1), as no shell reads the command.
        Some(name) => Backend::OnSocket(command(&["env", &format!("{name}=$SOCKET")])),
        None => Backend::Command(command(&[])),
    }
}

/// Returns true if a program reads the variable `name`, according to its text.
fn reads(program: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_named = program.match_indices(name).any(|(at, _)| {
        let (before, after) =
            (program.get(..at).unwrap_or_default(), program.get(at + name.len()..).unwrap_or_default());
        !before.ends_with(is_part) && !after.starts_with(is_part)
    });
    is_named && READS.iter().any(|way| program.contains(way))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || " ./_-=:".contains(c)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;

    #[test]
    fn a_backend_is_started_by_what_lies_in_its_folder() {
        let command = |words: &[&str]| Backend::Command(words.iter().map(|word| (*word).to_owned()).collect());
        for (files, expected) in [
            (&[("dist/server/server.js", ""), ("dist/server/app.js", "")][..], Some(command(&["node", "server.js"]))),
            (&[("dist/server/entry.mjs", "")], Some(command(&["node", "entry.mjs"]))),
            (&[("dist/server/app.py", "")], Some(command(&["python3", "app.py"]))),
            (&[("dist/server/api", "#!/bin/sh"), ("dist/server/data", "")], Some(command(&["./api"]))),
            (
                &[("dist/server/package.json", r#"{"scripts":{"start":"node --enable-source-maps a.js"}}"#)],
                Some(command(&["node", "--enable-source-maps", "a.js"])),
            ),
            (
                &[("dist/server/package.json", r#"{"scripts":{"start":"node a.js && rm -r /"}}"#)],
                Some(Backend::Unknown),
            ),
            (&[("dist/server/Procfile", "web: a"), ("dist/server/server.js", "")], Some(Backend::Procfile)),
            (&[("dist/server/readme.md", "")], Some(Backend::Unknown)),
            // Sources.
            (&[("server/server.js", "")], None),
        ] {
            assert_eq!(backend(&Files::new(files)), expected, "{files:?}");
        }
    }

    #[test]
    fn a_program_that_can_listen_on_a_socket_does() {
        for (script, expected) in [
            ("const { PORT, SOCKET } = process.env;", Some("node server.js")),
            ("server.listen(process.env.SOCKET || +process.env.PORT)", Some("node server.js")),
            ("const path = env('SOCKET_PATH', false);", Some("env SOCKET_PATH=$SOCKET node server.js")),
            ("const s = process.env.NITRO_UNIX_SOCKET;", Some("env NITRO_UNIX_SOCKET=$SOCKET node server.js")),
            ("server.listen(process.env.PORT); new WEBSOCKET(SOCKET_TIMEOUT)", None),
            ("server.listen(3000) // SOCKET", None),
        ] {
            let found = backend(&Files::new(&[("dist/server/server.js", script)]));
            let words = |line: &str| line.split(' ').map(str::to_owned).collect();
            let expected = expected
                .map_or_else(|| Backend::Command(words("node server.js")), |line| Backend::OnSocket(words(line)));
            assert_eq!(found, Some(expected), "{script}");
        }
        let python = [("dist/server/app.py", "import os\nserve(os.environ['SOCKET'])")];
        assert_eq!(
            backend(&Files::new(&python)),
            Some(Backend::OnSocket(vec!["python3".to_owned(), "app.py".to_owned()]))
        );
    }
}
