//! `package.json`: what a project depends on, its scripts, and what manages its packages.

use serde_json::Value;

use super::config_text::commands;
use super::tree::Tree;

/// The lists of `package.json` that name packages.
const DEPENDENCIES: [&str; 2] = ["dependencies", "devDependencies"];

/// Packages that make pages of sources, and are no framework.
const BUNDLERS: [&str; 6] = ["@rspack/core", "esbuild", "parcel", "parcel-bundler", "rollup", "webpack"];

/// The `package.json` of a project; without one it has no dependencies and no scripts.
#[derive(Debug, Default)]
pub(super) struct Package {
    json: Option<Value>,
    /// Why there is one that cannot be read.
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

    /// Whether there is one, also one that cannot be read.
    pub(super) const fn exists(&self) -> bool {
        self.json.is_some() || self.unreadable.is_some()
    }

    /// Why there is one that cannot be read, as a part of a sentence.
    pub(super) fn unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Whether it depends on the package `name`.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        let list = |kind: &&str| self.json.as_ref()?.get(kind)?.get(name);
        DEPENDENCIES.iter().any(|kind| list(kind).is_some())
    }

    /// The script `name`.
    pub(super) fn script(&self, name: &str) -> Option<&str> {
        self.json.as_ref()?.get("scripts")?.get(name)?.as_str()
    }

    /// Whether something builds: a script whose name says so, or a bundler that it depends on.
    pub(super) fn has_build(&self) -> bool {
        let scripts = self.json.as_ref().and_then(|json| json.get("scripts")?.as_object());
        let mut names = scripts.into_iter().flat_map(|scripts| scripts.keys());
        names.any(|name| name.split(['-', ':', '_']).any(|word| word == "build"))
            || BUNDLERS.iter().any(|name| self.depends_on(name))
    }

    /// The script that runs `command`, by its name, and the words of that command in it. The script `build` comes
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

    /// The line for a shell that builds by `command`: by a script, if one runs it.
    pub(super) fn build_line(&self, command: &str) -> String {
        let is_plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_:.".contains(c));
        let script = self.script_with(command).map(|(name, _)| name).filter(is_plain);
        let build = self.script("build");
        let name = match (script, build) {
            // It may check types before.
            (Some(name), Some(build)) if name != "build" && build.contains(name) => Some("build"),
            (Some(name), _) => Some(name),
            // What it calls is another program's matter.
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
    /// By its lock file, else by what `package.json` says.
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

    /// The line that runs a script.
    fn run(self, script: &str) -> String {
        let program = match self {
            Self::Bun => "bun",
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
        };
        format!("{program} run {script}")
    }

    /// The line that runs a program of a package.
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
