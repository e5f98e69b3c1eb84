//! The backend that lies beside the pages, and what starts it.

use devanture_config::site_toml::SERVER_DIR;
use devanture_config::site_toml::procfile::PROCFILE;

use super::package::Package;
use super::tree::{Tree, join};

/// What starts a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backend {
    /// This command.
    Command(Vec<String>),
    /// A `Procfile`.
    Procfile,
    /// An unknown command.
    Unknown,
}

/// The backend in [`SERVER_DIR`]; `None` if there is no such folder.
pub(super) fn backend(tree: &dyn Tree) -> Option<Backend> {
    if !tree.is_folder(SERVER_DIR) {
        return None;
    }
    if tree.is_file(&join(SERVER_DIR, PROCFILE)) || tree.is_file(PROCFILE) {
        return Some(Backend::Procfile);
    }
    let words = |words: &[&str]| Some(Backend::Command(words.iter().map(|word| (*word).to_owned()).collect()));
    let package = Package::read(tree, SERVER_DIR);
    // What only a shell reads, and what the shell of npm alone finds, is for the person to say.
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
}
