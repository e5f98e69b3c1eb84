//! Interpreters of the edge, targets of links in bundles, for example in Python virtual environments.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use devanture_config::Digest;
use devanture_config::manifest::{InterpreterName, ServerFolder};
use devanture_config::path::BundlePath;

use crate::runner::Error;

/// File of a virtual environment with the interpreter's folder.
const PYVENV: &str = "pyvenv.cfg";
/// Largest rewritten file; Python writes a few hundred bytes.
pub(super) const PYVENV_BYTES_MAX: u64 = 64 * 1024;

/// Interpreters of `[runner.interpreters]` in `edge.toml`.
#[derive(Debug, Clone, Default)]
pub(in crate::runner) struct Interpreters(BTreeMap<InterpreterName, PathBuf>);

impl Interpreters {
    pub(in crate::runner) fn new(paths: BTreeMap<InterpreterName, PathBuf>) -> Self {
        Self(paths)
    }

    /// Checks that all interpreters linked by a folder are available.
    ///
    /// # Errors
    /// [`Error::Interpreter`] for the first missing interpreter.
    pub(in crate::runner) fn check(&self, folder: &ServerFolder) -> Result<(), Error> {
        folder.interpreters().try_for_each(|(path, name)| self.path(path, &name).map(drop))
    }

    /// Returns the target of a link of the folder.
    pub(super) fn target(&self, path: &BundlePath, target: &str) -> Result<PathBuf, Error> {
        match InterpreterName::of_link(target) {
            Some(name) => self.path(path, &name).map(Path::to_owned),
            None => Ok(PathBuf::from(target)),
        }
    }

    fn path(&self, link: &BundlePath, name: &InterpreterName) -> Result<&Path, Error> {
        let missing = |reason: String| Error::Interpreter { path: link.to_string(), name: name.to_string(), reason };
        let Some(path) = self.0.get(name) else {
            let names: Vec<&str> = self.0.keys().map(InterpreterName::as_str).collect();
            return Err(missing(match names.is_empty() {
                true => "this edge names no interpreter in [runner.interpreters]".to_owned(),
                false => format!("this edge has {}", names.join(", ")),
            }));
        };
        match path.is_file() {
            true => Ok(path),
            false => Err(missing(format!("there is no {} on this edge", path.display()))),
        }
    }

    /// Returns the suffix of a laid-out folder's name after its digest: a changed interpreter path changes the folder.
    pub(super) fn suffix(&self, folder: &ServerFolder) -> String {
        let mut paths = String::new();
        for (link, name) in folder.interpreters() {
            let path = self.0.get(&name).map(|path| path.display().to_string()).unwrap_or_default();
            writeln!(paths, "{link}\0{path}").ok();
        }
        if paths.is_empty() { paths } else { format!("-{}", Digest::of(paths.as_bytes()).short()) }
    }

    /// Returns the `pyvenv.cfg` files next to links to interpreters, each with its interpreter's folder.
    pub(super) fn environments<'f>(&self, folder: &'f ServerFolder) -> HashMap<&'f BundlePath, PathBuf> {
        let mut homes = HashMap::new();
        for (link, name) in folder.interpreters() {
            let of_environment = link.as_str().rsplit_once("/bin/").map(|(environment, _)| format!("{environment}/"));
            let config = match of_environment {
                Some(environment) => format!("{environment}{PYVENV}"),
                None if link.as_str().starts_with("bin/") => PYVENV.to_owned(),
                None => continue,
            };
            let found = config.parse().ok().and_then(|config: BundlePath| folder.files.get_key_value(&config));
            let home = self.0.get(&name).and_then(|path| path.parent());
            if let Some(((config, file), home)) = found.zip(home)
                && file.size <= PYVENV_BYTES_MAX
            {
                homes.insert(config, home.to_owned());
            }
        }
        homes
    }
}

/// Returns true for a `pyvenv.cfg`, rewritten if links next to the file lead to interpreters.
pub(super) fn is_of_environment(path: &BundlePath) -> bool {
    path.as_str().rsplit('/').next() == Some(PYVENV)
}

/// Returns a `pyvenv.cfg` for an interpreter in `home`, from where Python looks for its standard library.
pub(super) fn with_home(config: &str, home: &Path) -> String {
    let mut lines: Vec<String> = vec![format!("home = {}", home.display())];
    let is_home = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case("home"));
    lines.extend(config.lines().filter(|line| !is_home(line)).map(str::to_owned));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::manifest::ServerFile;

    fn folder(files: &[&str], links: &[(&str, &str)]) -> ServerFolder {
        let file = |path: &&str| {
            (path.parse().unwrap(), ServerFile { hash: Digest::of(path.as_bytes()), run: false, size: 1 })
        };
        let link = |(path, target): &(&str, &str)| (path.parse().unwrap(), (*target).to_owned());
        ServerFolder { files: files.iter().map(file).collect(), links: links.iter().map(link).collect() }
    }

    fn interpreters(path: &str) -> Interpreters {
        Interpreters::new([("python3.11".parse().unwrap(), PathBuf::from(path))].into())
    }

    #[test]
    fn an_interpreter_that_the_edge_lacks_is_refused_with_those_that_it_has() {
        let of = |name: &str| folder(&["a"], &[("v/bin/python3", name)]);
        let here = interpreters("/bin/sh");
        here.check(&of("/interpreters/python3.11")).unwrap();
        let refused =
            |of: &Interpreters, name: &str| of.check(&folder(&["a"], &[("v", name)])).unwrap_err().to_string();
        let text = refused(&here, "/interpreters/python3.12");
        assert_eq!(text, "`v` of the bundle is a link to python3.12, and this edge has python3.11");
        assert!(refused(&Interpreters::default(), "/interpreters/node").contains("names no interpreter"));
        assert!(refused(&interpreters("/not/there"), "/interpreters/python3.11").contains("no /not/there"));
    }

    #[test]
    fn another_path_is_another_folder_and_a_folder_without_interpreters_has_its_old_name() {
        let environment = folder(&["a"], &[("v/bin/python3", "/interpreters/python3.11")]);
        let suffix = |path: &str| interpreters(path).suffix(&environment);
        assert_eq!(suffix("/a/python3.11"), suffix("/a/python3.11"));
        assert_ne!(suffix("/a/python3.11"), suffix("/b/python3.11"));
        assert_eq!(interpreters("/a").suffix(&folder(&["a"], &[("b", "a")])), "");
    }

    #[test]
    fn the_configuration_of_an_environment_names_the_folder_of_the_edges_interpreter() {
        let links = [("v/bin/python3", "/interpreters/python3.11"), ("bin/python", "/interpreters/python3.11")];
        let with = folder(&["v/pyvenv.cfg", "pyvenv.cfg", "w/pyvenv.cfg"], &links);
        let found = interpreters("/opt/python/bin/python3.11").environments(&with);
        let mut found: Vec<(&str, &Path)> = found.iter().map(|(path, home)| (path.as_str(), home.as_path())).collect();
        found.sort_unstable();
        let home = Path::new("/opt/python/bin");
        assert_eq!(found, [("pyvenv.cfg", home), ("v/pyvenv.cfg", home)]);
        let text = "home = /opt/other/bin\nHOME=/x\ninclude-system-site-packages = false\n";
        assert_eq!(with_home(text, home), "home = /opt/python/bin\ninclude-system-site-packages = false\n");
    }
}
