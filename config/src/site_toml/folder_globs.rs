//! `exclude` and `include`: what of a folder is not pushed, and what is all the same, as `.gitignore` names paths.

use std::str::FromStr;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::manifest::halves::Half;
use crate::manifest::leave_out::{is_left_out_itself, provider_of};
use crate::parsing::reader::Table;

/// Most globs of one key.
pub const FOLDER_GLOBS_MAX: usize = 2_000;
/// Longest glob, in bytes.
const GLOB_BYTES_MAX: usize = 1_024;
/// The folder of git, which no program needs to run.
const GIT: &str = ".git";
/// The beginning of the names of files of settings.
const SETTINGS: &str = ".env";

/// One glob, as a line of `.gitignore` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob(String);

/// Says why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPathGlob {
    /// It names nothing.
    #[error("it names no path: a glob such as \"*.map\" or \"/drafts/\" is wanted")]
    Empty,
    /// A comment of `.gitignore`.
    #[error("`{0}` is a comment in `.gitignore`; a name that begins with # is written \\#")]
    Comment(String),
    /// It has too many bytes.
    #[error("it has more than {GLOB_BYTES_MAX} bytes")]
    Long,
    /// It is no glob.
    #[error("`{0}` is no glob: {1}")]
    Syntax(String, String),
}

impl FromStr for PathGlob {
    type Err = BadPathGlob;

    fn from_str(text: &str) -> Result<Self, BadPathGlob> {
        if text.len() > GLOB_BYTES_MAX {
            return Err(BadPathGlob::Long);
        }
        if matches!(text.trim().trim_start_matches('!'), "" | "/") {
            return Err(BadPathGlob::Empty);
        }
        if text.starts_with('#') {
            return Err(BadPathGlob::Comment(text.to_owned()));
        }
        let glob = Self(text.to_owned());
        match matcher(std::slice::from_ref(&glob)) {
            Ok(_) => Ok(glob),
            Err(error) => Err(BadPathGlob::Syntax(text.to_owned(), error.to_string())),
        }
    }
}

/// The globs of one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderGlobs {
    /// What is not pushed.
    pub exclude: Vec<PathGlob>,
    /// What is pushed although `exclude` names it or it is left out by its name.
    pub include: Vec<PathGlob>,
}

impl FolderGlobs {
    /// Reads both keys of a table.
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let exclude: Vec<PathGlob> = table.list("exclude").unwrap_or_default();
        let include: Vec<PathGlob> = table.list("include").unwrap_or_default();
        for (key, globs) in [("exclude", &exclude), ("include", &include)] {
            let full = table.full(key);
            if globs.len() > FOLDER_GLOBS_MAX {
                table.mistake(key, format!("`{full}` has more than {FOLDER_GLOBS_MAX} globs"), None);
            } else if let Err(error) = matcher(globs) {
                table.mistake(key, format!("the globs of `{full}` are too much together: {error}"), None);
            }
        }
        Self { exclude, include }
    }

    /// The globs of the folder of `half`, ready to be asked.
    #[must_use]
    pub fn of(&self, half: Half) -> LeaveOut {
        // What could not be made was a mistake when it was read.
        let of = |globs: &[PathGlob]| matcher(globs).unwrap_or_else(|_refused| Gitignore::empty());
        LeaveOut { half, exclude: of(&self.exclude), include: of(&self.include) }
    }
}

/// All of `globs` as one; each is sound, and together they may be too much.
fn matcher(globs: &[PathGlob]) -> Result<Gitignore, ignore::Error> {
    let mut builder = GitignoreBuilder::new("");
    for PathGlob(glob) in globs {
        builder.add_line(None, glob)?;
    }
    builder.build()
}

/// Whether no glob brings back what stands at `path`: a pull request writes `include`, and in CI these hold tokens. No
/// visitor gets such names anyway.
fn is_never_brought_back(path: &str) -> bool {
    let path = path.to_lowercase();
    path.split('/').any(|name| name == GIT || name.starts_with(SETTINGS))
}

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutReason {
    /// `exclude` names it.
    Excluded,
    /// Its name is one that is left out of every bundle.
    Name,
    /// A folder above it is left out.
    Folder,
}

/// Tells what of a folder is left out.
#[derive(Debug, Clone)]
pub struct LeaveOut {
    half: Half,
    exclude: Gitignore,
    include: Gitignore,
}

impl LeaveOut {
    /// Whether anything of a folder that is left out may be brought back.
    #[must_use]
    pub fn may_include(&self) -> bool {
        !self.include.is_empty()
    }

    /// Why what stands at `path`, from the top of the folder, is left out; `is_below` says that it stands in a folder
    /// that is.
    #[must_use]
    pub fn reason(&self, path: &str, is_folder: bool, is_below: bool) -> Option<LeftOutReason> {
        let is_named = || match self.half {
            Half::Front => is_left_out_itself(path) || provider_of(path).is_some(),
            Half::Backend => path.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(GIT)),
        };
        let reason = if is_below {
            LeftOutReason::Folder
        } else if is_named() {
            LeftOutReason::Name
        } else if self.exclude.matched(path, is_folder).is_ignore() {
            LeftOutReason::Excluded
        } else {
            return None;
        };
        let is_brought_back = !is_never_brought_back(path) && self.include.matched(path, is_folder).is_ignore();
        (!is_brought_back).then_some(reason)
    }

    /// Whether the file or folder at `path` is left out, by itself or with a folder around it.
    #[must_use]
    pub fn covers(&self, path: &str, is_folder: bool) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.filter_map(|end| path.get(..end))
            .fold(false, |is_below, part| self.reason(part, is_folder || part.len() < path.len(), is_below).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(exclude: &[&str], include: &[&str]) -> FolderGlobs {
        let of = |globs: &[&str]| globs.iter().map(|glob| glob.parse().unwrap()).collect();
        FolderGlobs { exclude: of(exclude), include: of(include) }
    }

    #[test]
    fn paths_are_named_as_in_gitignore() {
        for (exclude, path, is_out) in [
            (&["*.map"][..], "assets/a.js.map", true),
            (&["*.map"], "assets/a.js", false),
            (&["/drafts/"], "drafts/a.html", true),
            (&["/drafts/"], "drafts", false),
            (&["/drafts/"], "x/drafts/a.html", false),
            (&["drafts/"], "x/drafts/a.html", true),
            (&["a/*.txt"], "a/b.txt", true),
            (&["a/*.txt"], "a/c/b.txt", false),
            (&["**/internal/**"], "x/internal/y/z", true),
            (&["*.txt", "!robots.txt"], "robots.txt", false),
            (&["*.txt", "!robots.txt"], "notes.txt", true),
            // What stands in an excluded folder is not brought back by a line of its own, as in git.
            (&["a/", "!a/b"], "a/b", true),
            (&["/*", "!/index.html", "!/assets/"], "assets/a.js", false),
            (&["/*", "!/index.html", "!/assets/"], "server.js", true),
            (&["*.{ts,tsx}"], "a/b.tsx", true),
            (&["secret file"], "secret file", true),
            (&["[ab].js"], "b.js", true),
            (&["\\!a"], "!a", true),
            (&["\\#a"], "#a", true),
        ] {
            assert_eq!(globs(exclude, &[]).of(Half::Front).covers(path, false), is_out, "{exclude:?} {path}");
        }
    }

    #[test]
    fn include_brings_back_what_it_names() {
        for (half, exclude, include, path, is_out) in [
            (Half::Front, &[][..], &[][..], "node_modules/a.js", true),
            (Half::Front, &[], &["node_modules/"], "node_modules/a.js", false),
            // A secret within is named by itself or not at all.
            (Half::Front, &[], &["node_modules/"], "node_modules/server.key", true),
            (Half::Front, &[], &["node_modules/**"], "node_modules/a/server.key", false),
            (Half::Front, &[], &["/node_modules/fonts/"], "node_modules/fonts/a/b.ttf", false),
            (Half::Front, &[], &["/node_modules/fonts/"], "node_modules/a.js", true),
            (Half::Front, &[], &["/vercel.json"], "vercel.json", false),
            (Half::Front, &[], &["*.pem"], "ca/root.pem", false),
            (Half::Front, &["/api/"], &["/api/docs/"], "api/docs/index.html", false),
            (Half::Front, &["/api/"], &["/api/docs/"], "api/pay.js", true),
            (Half::Backend, &[], &[], "node_modules/a/.env", false),
            (Half::Backend, &[".env"], &[], ".env", true),
            (Half::Backend, &[".env*", "!.env.example"], &[], ".env.example", false),
            (Half::Backend, &[], &[], "sub/.git/config", true),
        ] {
            let leave_out = globs(exclude, include).of(half);
            assert_eq!(leave_out.covers(path, false), is_out, "{exclude:?} {include:?} {path}");
        }
    }

    #[test]
    fn include_brings_back_no_settings_and_nothing_of_git() {
        for include in [&["**"][..], &["*"], &[".*"], &["/.env", ".git/", "/.git/**"], &["[.]env", "{.ENV,.Git}"]] {
            for path in [".env", ".ENV.local", "a/.env.prod", ".git/config", "a/.Git/HEAD"] {
                assert!(globs(&[], include).of(Half::Front).covers(path, false), "{include:?} {path}");
            }
            assert!(globs(&[], include).of(Half::Backend).covers(".git/config", false), "{include:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_glob_is_refused() {
        for bad in ["", " ", "/", "!", "# a", "a{b", &"a".repeat(2_000)] {
            assert!(bad.parse::<PathGlob>().is_err(), "{bad}");
        }
    }
}
