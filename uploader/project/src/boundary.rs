//! The folder in which the files of a project stay: the folder of `devanture.toml`, or the folder of `--root`.
//!
//! A pull request writes `www` and `server.dir`, and can bring links. The targets are published, or quoted in a
//! message, so no path named by a project is read from outside this folder. Paths on the command line may be anywhere.

use std::fs;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use devanture_config::parsing::{Mistake, Mistakes, Weight};
use devanture_config::problem::Code;
use devanture_site::rules::At;

use super::beneath::Folder;
use crate::ProjectError;

/// The git folder of a work tree, often with a token of the CI system: never published.
const GIT: &str = ".git";
/// The hint about a path that leads out of the boundary.
const HINT: &str = "to let it lead there, name a folder that holds both: --root DIR, such as the repository's";

/// The folder in which the files of a project stay.
#[derive(Debug, Clone)]
pub struct Boundary {
    /// Without links; `None` if the folder is not there.
    root: Option<Arc<Path>>,
    /// The name for messages.
    shown: Arc<str>,
}

/// The reason why a path of the project cannot be used.
#[derive(Debug)]
pub(crate) enum BoundaryError {
    /// The path leads out of the folder, to the contained target.
    Outside(PathBuf),
    /// The path leads to the files of git.
    IntoGit,
    /// The path cannot be followed.
    Io(io::Error),
}

impl Boundary {
    /// Creates the boundary of the files in `folder`: `root`, if given, else `folder` itself.
    ///
    /// # Errors
    /// `usage` if `root` is not a folder, or does not contain `folder`.
    pub(crate) fn new(folder: &Path, root: Option<&Path>) -> Result<Self, ProjectError> {
        let bad = |path: &Path, why: String| {
            ProjectError::new(Code::Usage, format!("--root {} cannot be taken: {why}.", path.display()))
        };
        let real = |path: &Path| fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path });
        let own = real(folder);
        let Some(path) = root else {
            let root = own.ok().map(Arc::from);
            return Ok(Self { root, shown: "the folder of devanture.toml".into() });
        };
        let root = real(path).map_err(|error| bad(path, error.to_string()))?;
        if !root.is_dir() {
            return Err(bad(path, "it is not a folder".to_owned()));
        }
        if own.is_ok_and(|own| !own.starts_with(&root)) {
            return Err(bad(path, format!("it does not hold {}", folder.display()))
                .hint("name a folder that holds devanture.toml and all that it names"));
        }
        Ok(Self { root: Some(root.into()), shown: format!("the folder of --root, {}", path.display()).into() })
    }

    /// Returns the target of `path` with every link followed, as a path relative to the boundary's folder.
    ///
    /// # Errors
    /// A [`BoundaryError`]. A path that leads out by its text alone is refused, present or not.
    pub(crate) fn follow(&self, path: &Path) -> Result<PathBuf, BoundaryError> {
        let root = self.root().map_err(BoundaryError::Io)?;
        let plain = without_links(path, root);
        if !plain.starts_with(root) {
            return Err(BoundaryError::Outside(plain));
        }
        let real = fs::canonicalize(path).map_err(BoundaryError::Io)?;
        let within = real.strip_prefix(root).map_err(|_outside| BoundaryError::Outside(real.clone()))?;
        if within.components().any(|part| part.as_os_str().eq_ignore_ascii_case(GIT)) {
            return Err(BoundaryError::IntoGit);
        }
        Ok(within.to_owned())
    }

    fn root(&self) -> io::Result<&Path> {
        self.root.as_deref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens the folder at the target of `path`.
    ///
    /// # Errors
    /// Like [`Boundary::follow`]; also an error if the target is not a folder.
    pub(crate) fn open_folder(&self, path: &Path) -> Result<Folder, BoundaryError> {
        let within = self.follow(path)?;
        self.root().and_then(Folder::open).and_then(|root| root.folder(&within)).map_err(BoundaryError::Io)
    }

    /// Opens the file at the target of `path`.
    ///
    /// # Errors
    /// Like [`Boundary::follow`]; also an error if the target is not a file.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, BoundaryError> {
        let within = self.follow(path)?;
        self.root().and_then(Folder::open).and_then(|root| root.file(&within)).map_err(BoundaryError::Io)
    }

    /// Returns the bytes of the file at the target of `path`, if present.
    ///
    /// # Errors
    /// `bad_config` if the file cannot be read, leads out, or has more than `bytes_max` bytes.
    pub fn read(&self, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, ProjectError> {
        let bad = |why: &str| ProjectError::new(Code::BadConfig, format!("{} cannot be read: {why}.", path.display()));
        let file = match self.open_file(path) {
            Ok(file) => file,
            Err(BoundaryError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(BoundaryError::Io(error)) => return Err(bad(&error.to_string())),
            Err(misled) => return Err(bad(&format!("it is a link that {}", self.why(&misled))).hint(HINT)),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| bad(&error.to_string()))?;
        if bytes.len() as u64 > bytes_max {
            return Err(bad(&format!("it has more than {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// The error, as the end of a sentence about a path.
    fn why(&self, misled: &BoundaryError) -> String {
        match misled {
            BoundaryError::Outside(real) => format!("leads out of {}, to {}", self.shown, real.display()),
            BoundaryError::IntoGit => "leads into .git, which is git's alone".to_owned(),
            BoundaryError::Io(error) => format!("cannot be followed: {error}"),
        }
    }
}

/// Returns `path` resolved by its text, without following links below `root`.
fn without_links(path: &Path, root: &Path) -> PathBuf {
    let mut plain = match path.has_root() {
        true => PathBuf::new(),
        false => fs::canonicalize(".").unwrap_or_default(),
    };
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
        // The folder itself may be behind links, as `/tmp` is on some systems.
        if let Ok(real) = fs::canonicalize(&plain)
            && root.starts_with(&real)
        {
            plain = real;
        }
    }
    plain
}

/// The key of a container image's file.
pub(crate) const IMAGE_KEY: &str = "server.image";

/// A folder or file to push.
#[derive(Debug, Clone)]
pub struct Place {
    path: PathBuf,
    /// The required boundary; `None` for a path from the command line.
    within: Option<Boundary>,
    /// The key of `devanture.toml` with the path, and the position of the key.
    key: Option<(&'static str, At)>,
}

impl Place {
    /// Creates a place named on the command line.
    pub fn anywhere(path: PathBuf) -> Self {
        Self { path, within: None, key: None }
    }

    /// Creates a place named by the project's `key`, or the default place.
    pub fn within(path: PathBuf, boundary: Boundary, key: Option<(&'static str, At)>) -> Self {
        Self { path, within: Some(boundary), key }
    }

    /// Returns the path as the user knows it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true for the file of a container image, which is not a folder.
    pub(crate) fn is_image(&self) -> bool {
        matches!(self.key, Some((IMAGE_KEY, _)))
    }

    /// Returns the place of the parent folder.
    pub fn parent(&self) -> Self {
        let path = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Refuses a place that leads out of the boundary. A missing place passes.
    ///
    /// # Errors
    /// `bad_config` with the line that names the place.
    pub fn check(&self) -> Result<(), ProjectError> {
        match self.within.as_ref().map(|boundary| boundary.follow(&self.path)) {
            Some(Err(misled @ (BoundaryError::Outside(_) | BoundaryError::IntoGit))) => Err(self.misled(&misled)),
            None | Some(Ok(_) | Err(BoundaryError::Io(_))) => Ok(()),
        }
    }

    /// Opens the place as a folder.
    ///
    /// # Errors
    /// `missing_folder` with `hint`, `unreadable_file`; `bad_config` if the place leads out.
    pub(crate) fn open_folder(&self, hint: &str) -> Result<Folder, ProjectError> {
        let shown = self.path.display();
        let opened = match &self.within {
            Some(boundary) => boundary.open_folder(&self.path),
            None => fs::canonicalize(&self.path).and_then(|real| Folder::open(&real)).map_err(BoundaryError::Io),
        };
        opened.map_err(|misled| match misled {
            BoundaryError::Io(error) => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound => "does not exist",
                    io::ErrorKind::NotADirectory => "is not a folder",
                    _ => {
                        let message = format!("The folder `{shown}` cannot be read: {error}.");
                        return ProjectError::new(Code::UnreadableFile, message);
                    }
                };
                ProjectError::new(Code::MissingFolder, format!("The folder `{shown}` {why}.")).hint(hint)
            }
            misled => self.misled(&misled),
        })
    }

    /// Opens the place as a file.
    ///
    /// # Errors
    /// `unreadable_file`; `bad_config` if the place leads out.
    pub fn open_file(&self) -> Result<File, ProjectError> {
        let opened = match &self.within {
            Some(boundary) => boundary.open_file(&self.path),
            None => File::open(&self.path).map_err(BoundaryError::Io),
        };
        opened.map_err(|misled| match misled {
            BoundaryError::Io(error) => {
                ProjectError::new(Code::UnreadableFile, format!("{} cannot be read: {error}.", self.path.display()))
            }
            misled => self.misled(&misled),
        })
    }

    fn misled(&self, misled: &BoundaryError) -> ProjectError {
        let why = self.within.as_ref().map_or_else(String::new, |boundary| boundary.why(misled));
        let hint = matches!(misled, BoundaryError::Outside(_)).then(|| HINT.to_owned());
        let Some((key, at)) = &self.key else {
            let failure = ProjectError::new(Code::BadConfig, format!("The folder `{}` {why}.", self.path.display()));
            return ProjectError { hint: hint.map(Into::into), ..failure };
        };
        let message = format!("`{key}` {why}");
        let file = at.file.to_string();
        let mistake = Mistake { file: file.clone(), line: at.line, weight: Weight::Mistake, message, hint };
        ProjectError::of_config(&file, Mistakes(vec![mistake]))
    }
}
