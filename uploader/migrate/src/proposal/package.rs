//! `package.json`: the dependencies of a project, its scripts, and its package manager.

use serde_json::Value;

use super::config_text::commands;
use super::tree::Tree;

/// The lists of packages in `package.json`.
const DEPENDENCIES: [&str; 2] = ["dependencies", "devDependencies"];

/// Packages that make pages of sources, and are not frameworks.
const BUNDLERS: [&str; 6] = ["@rspack/core", "esbuild", "parcel", "parcel-bundler", "rollup", "webpack"];

/// The `package.json` of a project; without the file there are no dependencies and no scripts.
#[derive(Debug, Default)]
pub(super) struct Package {
    json: Option<Value>,
    /// The reason why an existing file cannot be read.
    unreadable: Option<String>,
    manager: Manager,
}

/// A program that installs packages and runs scripts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Bun,
    #[default]
    Npm,
    Pnpm,
    Yarn,
}

impl Package {
    pub(super) fn read(tree: &dyn Tree, folder: &str) -> Self {
        let path = super::tree::join(folder, "package.json");
        // Package managers pass over a byte order mark.
        let parsed = |text: &str| serde_json::from_str(text.trim_start_matches('\u{feff}'));
        let read = tree.read(&path);
        let read = read.and_then(|text| text.map(|text| parsed(&text)).transpose().map_err(|error| error.to_string()));
        let (json, unreadable) = match read {
            Ok(json) => (json, None),
            Err(why) => (None, Some(why)),
        };
        let manager = Manager::of(tree, json.as_ref());
        Self { json, unreadable, manager }
    }

    /// Returns true if the file exists, readable or not.
    pub(super) const fn exists(&self) -> bool {
        self.json.is_some() || self.unreadable.is_some()
    }

    /// Returns the reason why an existing file cannot be read, as a part of a sentence.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Returns true if the project depends on the package `name`.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        let list = |kind: &&str| self.json.as_ref()?.get(kind)?.get(name);
        DEPENDENCIES.iter().any(|kind| list(kind).is_some())
    }

    /// The script `name`.
    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.json.as_ref()?.get("scripts")?.get(name)?.as_str()
    }

    /// Returns true if the project has a build: a script with such a name, or a bundler among the dependencies.
    pub(super) fn has_build(&self) -> bool {
        let scripts = self.json.as_ref().and_then(|json| json.get("scripts")?.as_object());
        let mut names = scripts.into_iter().flat_map(|scripts| scripts.keys());
        names.any(|name| name.split(['-', ':', '_']).any(|word| word == "build"))
            || BUNDLERS.iter().any(|name| self.depends_on(name))
    }

    /// Returns the name of the script that runs `command`, and the words of that command. The script `build` comes
    /// first.
    pub(super) fn script_with(&self, command: &str) -> Option<(&str, Vec<String>)> {
        let scripts = self.json.as_ref()?.get("scripts")?.as_object()?;
        let wanted: Vec<&str> = command.split(' ').collect();
        let found = |name: &str| {
            let commands = commands(scripts.get(name)?.as_str()?);
            commands.into_iter().find(|words| words.windows(wanted.len()).any(|part| part == wanted))
        };
        let mut names = std::iter::once("build").chain(scripts.keys().map(String::as_str));
        names.find_map(|name| Some((name, found(name)?)))
    }

    /// Returns the shell command that builds with `command`: through a script, if one runs it.
    pub(super) fn build_line(&self, command: &str) -> String {
        let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_:.".contains(c));
        let script = self.script_with(command).map(|(name, _)| name).filter(is_plain);
        let build = self.script("build");
        let name = match (script, build) {
            // The script may check types before.
            (Some(name), Some(build)) if name != "build" && build.contains(name) => Some("build"),
            (Some(name), _) => Some(name),
            // The script `build` calls a different program.
            (None, Some(build)) if !build.contains(command.split(' ').next().unwrap_or_default()) => Some("build"),
            (None, _) => None,
        };
        match name {
            Some(name) => self.manager.run(name),
            None if self.exists() => self.manager.execute(command),
            None => command.to_owned(),
        }
    }
}

impl Manager {
    /// Detects the manager by its lock file, else by `package.json`.
    fn of(tree: &dyn Tree, json: Option<&Value>) -> Self {
        let locks = [
            ("pnpm-lock.yaml", Self::Pnpm),
            ("yarn.lock", Self::Yarn),
            ("bun.lock", Self::Bun),
            ("bun.lockb", Self::Bun),
            ("package-lock.json", Self::Npm),
        ];
        if let Some((_, manager)) = locks.into_iter().find(|(path, _)| tree.is_file(path)) {
            return manager;
        }
        let said = json.and_then(|json| json.get("packageManager")?.as_str()).unwrap_or_default();
        match said.split('@').next() {
            Some("bun") => Self::Bun,
            Some("pnpm") => Self::Pnpm,
            Some("yarn") => Self::Yarn,
            _ => Self::Npm,
        }
    }

    /// Returns the command that runs a script.
    fn run(self, script: &str) -> String {
        let program = match self {
            Self::Bun => "bun",
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        };
        format!("{program} run {script}")
    }

    /// Returns the command that runs a program of a package.
    fn execute(self, command: &str) -> String {
        let program = match self {
            Self::Bun => "bunx",
            Self::Npm => "npx",
            Self::Pnpm => "pnpm exec",
            Self::Yarn => "yarn",
        };
        format!("{program} {command}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::Files;
    use super::*;

    #[test]
    fn the_next_line_is_the_script_that_really_builds() {
        for (scripts, lock, command, line) in [
            (r#""build":"vite build""#, "", "vite build", "npm run build"),
            (r#""build":"tsc -b && vite build""#, "yarn.lock", "vite build", "yarn run build"),
            (r#""build":"nuxt build","generate":"nuxt generate""#, "bun.lock", "nuxt generate", "bun run generate"),
            (r#""build":"nuxt build""#, "pnpm-lock.yaml", "nuxt generate", "pnpm exec nuxt generate"),
            (r#""docs:build":"vitepress build docs""#, "", "vitepress build", "npm run docs:build"),
            (r#""build":"run-p type-check build-only","build-only":"vite build""#, "", "vite build", "npm run build"),
            (r#""build":"turbo run all""#, "", "vite build", "npm run build"),
            (r#""a b; rm":"vite build""#, "", "vite build", "npx vite build"),
            ("", "", "ng build", "npx ng build"),
        ] {
            let json = format!(r#"{{"scripts":{{{scripts}}}}}"#);
            let package = Package::read(&Files::new(&[("package.json", &json), (lock, "")]), "");
            assert_eq!(package.build_line(command), line, "{scripts}");
        }
        assert_eq!(Package::read(&Files::new(&[]), "").build_line("hugo"), "hugo");
        let said = Files::new(&[("package.json", r#"{"packageManager":"pnpm@10.1.0","scripts":{"build":"x"}}"#)]);
        assert_eq!(Package::read(&said, "").build_line("vite build"), "pnpm run build");
    }
}
