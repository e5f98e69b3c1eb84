//! `exclude` and `include`: paths of a folder that are left out, and paths pushed in any case, in the syntax of
//! `.gitignore`.

use std::str::FromStr;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::manifest::halves::Half;
use crate::manifest::leave_out::{is_left_out_itself, provider_of};
use crate::parsing::reader::Table;

/// Maximum number of globs of a key.
pub const FOLDER_GLOBS_MAX: usize = 2_000;
/// Maximum length of a glob, in bytes.
const GLOB_BYTES_MAX: usize = 1_024;
/// Folder of git, not needed by any program at run time.
const GIT: &str = ".git";
/// Prefix of settings files.
const SETTINGS: &str = ".env";

/// Glob, in the syntax of a line of `.gitignore`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob(String);

/// Error for an invalid glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPathGlob {
    /// The glob is empty.
    #[error("it names no path: a glob such as \"*.map\" or \"/drafts/\" is wanted")]
    Empty,
    /// The text is a comment of `.gitignore`.
    #[error("`{0}` is a comment in `.gitignore`; a name that begins with # is written \\#")]
    Comment(String),
    /// The glob is too long.
    #[error("it has more than {GLOB_BYTES_MAX} bytes")]
    Long,
    /// The syntax is invalid.
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

/// Globs of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderGlobs {
    /// Paths to leave out.
    pub exclude: Vec<PathGlob>,
    /// Paths to push despite `exclude`, or despite a name left out by default.
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

    /// Compiles the globs of the folder of `half`.
    #[must_use]
    pub fn of(&self, half: Half) -> LeaveOut {
        // Globs that do not compile were reported during parsing.
        let of = |globs: &[PathGlob]| matcher(globs).unwrap_or_else(|_refused| Gitignore::empty());
        LeaveOut { half, exclude: of(&self.exclude), include: of(&self.include) }
    }
}

/// Compiles all of `globs`; each is valid, and only their sum may be too large.
fn matcher(globs: &[PathGlob]) -> Result<Gitignore, ignore::Error> {
    let mut builder = GitignoreBuilder::new("");
    for PathGlob(glob) in globs {
        builder.add_line(None, glob)?;
    }
    builder.build()
}

/// Returns true if no glob can include `path`: a pull request controls `include`, and in CI such files contain tokens.
/// Visitors never get such names anyway.
fn is_never_brought_back(path: &str) -> bool {
    let path = path.to_lowercase();
    path.split('/').any(|name| name == GIT || name.starts_with(SETTINGS))
}

/// Reason to leave out a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOutReason {
    /// A glob of `exclude` matches.
    Excluded,
    /// The name is left out of every bundle.
    Name,
    /// A parent folder is left out.
    Folder,
}

/// Filter of a folder's paths.
#[derive(Debug, Clone)]
pub struct LeaveOut {
    half: Half,
    exclude: Gitignore,
    include: Gitignore,
}

impl LeaveOut {
    /// Returns true if a left-out folder may contain included paths.
    #[must_use]
    pub fn may_include(&self) -> bool {
        !self.include.is_empty()
    }

    /// Returns the reason to leave out `path`, a path from the top of the folder, if any; `is_below` is true inside a
    /// left-out folder.
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

    /// Returns true if the file or folder at `path` is left out, alone or with a parent folder.
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
            // As in git, a pattern cannot include a path in an excluded folder.
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
            // A secret in a folder is only included by its own name.
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
