//! A project's folder from the view of a push.
//!
//! [`Project`] is `devanture.toml`, its overlays, a `Procfile` and `.env`, read from the disk. [`boundary`] keeps the
//! files of a project in their folder, [`beneath`] opens them, [`folders`] are those to push, and [`bundle`] is the
//! manifest of the found files. The crate does not print, contact an edge, or read the environment of the process.

pub mod beneath;
pub mod boundary;
pub mod bundle;
pub mod dotenv;
mod error;
pub mod folders;
pub mod platform;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use devanture_config::AppName;
use devanture_config::parsing::{Mistake, Mistakes, Weight};
use devanture_config::problem::Code;
use devanture_config::site_toml::procfile::PROCFILE;
use devanture_config::site_toml::{self, Image, OverlayText, SiteFile};

use self::boundary::{Boundary, Place};
pub use self::error::ProjectError;
use self::folders::{BundleGlobs, Folders, Pages};

/// Upper bound of bytes of a settings file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The default folder of the pages.
pub const WWW: &str = "www";

/// The settings of the working folder.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// The folder of `devanture.toml`, present or not.
    pub folder: PathBuf,
    /// The folder of `--root`, which contains all files that the project names.
    pub root: Option<PathBuf>,
    /// The name of `devanture.toml` as the user knows it.
    pub file_name: String,
    /// The content under the overlays; empty for a missing file.
    pub site: SiteFile,
    /// Set if the file exists.
    pub exists: bool,
    /// Set if the file, its overlays and a `Procfile` were read; otherwise `site` has only the address of its app.
    pub is_read: bool,
    /// The reason why every command fails: a flag with a missing target, or an unreadable `.env`.
    pub unusable: Option<ProjectError>,
    /// Notes about ignored lines of `.env` files.
    pub passed_over: Vec<String>,
    /// Set if the file has several apps, of which `site` is one.
    pub is_one_of_several: bool,
    /// The content of `.env`.
    pub dotenv: BTreeMap<String, String>,
    /// The content of `.env.APP`, if the app is known.
    pub app_dotenv: BTreeMap<String, String>,
}

impl Project {
    /// Reads `devanture.toml`, or the file of `--config`, and `.env` of the working folder; targets of links stay
    /// within `root`.
    ///
    /// Errors are returned beside the readable part: `bad_config` with all mistakes, or `usage` if the file of
    /// `--config` does not exist, or `root` is not a folder around it.
    pub fn read(config: Option<&Path>, root: Option<&Path>) -> (Self, Result<(), ProjectError>) {
        let path = config.unwrap_or_else(|| Path::new(site_toml::FILE_NAME));
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let (root, file_name) = (root.map(Path::to_owned), without_dot(path.to_owned()).display().to_string());
        let mut project = Self { folder, root, file_name, ..Self::default() };
        let site = project.read_site(path, config.is_some());
        let dotenv = project.read_own(dotenv::FILE_NAME).and_then(|read| {
            let checked = read.check_own(dotenv::FILE_NAME);
            project.passed_over.extend(read.passed_over(dotenv::FILE_NAME));
            project.dotenv = read.values;
            checked
        });
        let of_flags = site.as_ref().err().filter(|failure| failure.is(Code::Usage));
        project.unusable = of_flags.or_else(|| dotenv.as_ref().err()).cloned();
        let read = match (site, dotenv) {
            (Err(site), Err(dotenv)) => Err(site.and(dotenv)),
            (site, dotenv) => site.and(dotenv),
        };
        (project, read)
    }

    /// Selects the app in a file of several apps: `chosen_app` from a flag or the environment, then `.env`. Reads the
    /// app's own settings file beside `.env`.
    ///
    /// # Errors
    /// `usage` if the file has several apps and none is selected; `bad_config` if `.env.APP` cannot be read.
    pub fn choose(&mut self, chosen_app: Option<&str>) -> Result<(), ProjectError> {
        let chosen_app =
            chosen_app.or_else(|| self.dotenv.get(dotenv::APP_VARIABLE).map(String::as_str)).map(str::to_owned);
        let chosen = self.choose_site(chosen_app.as_deref());
        let app =
            chosen_app.and_then(|chosen_app| chosen_app.parse::<AppName>().ok()).or_else(|| self.site.app.clone());
        if let Some(app) = app {
            let name = dotenv::file_name_of(&app);
            let read = self.read_own(&name)?;
            read.check_own(&name)?;
            self.passed_over.extend(read.passed_over(&name));
            self.app_dotenv = read.values;
        }
        chosen
    }

    fn choose_site(&mut self, chosen_app: Option<&str>) -> Result<(), ProjectError> {
        if self.site.apps.is_empty() {
            return Ok(());
        }
        let mut apps = std::mem::take(&mut self.site.apps);
        self.is_one_of_several = true;
        let names: Vec<&str> = apps.keys().map(AppName::as_str).collect();
        let list = names.join(", ");
        let of_them = format!("{} has the apps {list}", self.file_name);
        let hint = format!("give --app with one of them, such as --app {}", names.first().copied().unwrap_or_default());
        let chosen = match chosen_app {
            // The name is validated where it is used.
            Some(chosen_app) => apps.keys().find(|name| name.as_str() == chosen_app).cloned().ok_or_else(|| {
                ProjectError::new(
                    Code::Usage,
                    format!("There is no app `{}` here: {of_them}.", chosen_app.escape_debug()),
                )
            }),
            None if apps.len() == 1 => apps.keys().next().cloned().ok_or_else(|| ProjectError::new(Code::Usage, "")),
            None => Err(ProjectError::new(Code::Usage, format!("Which app is meant is not said: {of_them}."))),
        };
        match chosen {
            Ok(chosen) => {
                self.site = apps.remove(&chosen).unwrap_or_default();
                Ok(())
            }
            Err(failure) => {
                self.site.apps = apps;
                Err(failure.hint(hint))
            }
        }
    }

    fn read_site(&mut self, path: &Path, must_exist: bool) -> Result<(), ProjectError> {
        let boundary = self.boundary()?;
        let bytes = boundary.read(path, FILE_BYTES_MAX)?;
        if bytes.is_none() && must_exist {
            let message = format!("There is no file {}, which --config names.", self.file_name);
            return Err(ProjectError::new(Code::Usage, message));
        }
        let text = bytes.map(|bytes| text_of(bytes, &self.file_name)).transpose()?;
        self.exists = text.is_some();
        // Commands that need only the address go on with it, whatever the mistakes in the rest.
        self.site = SiteFile::address(&self.file_name, text.as_deref().unwrap_or_default());
        let found = self.read_overlays(path, &boundary)?;
        let overlays: Vec<OverlayText<'_>> =
            found.iter().map(|(file, place, text)| OverlayText { file, place, text }).collect();
        let mut unread = None;
        let mut find = |dir: &str| match find_procfile(&self.folder, dir, &boundary) {
            Ok(found) => found,
            Err(failure) => {
                unread.get_or_insert(failure);
                None
            }
        };
        let site = SiteFile::parse_with_procfile(&self.file_name, text.as_deref(), &overlays, &mut find);
        if let Some(failure) = unread {
            return Err(failure);
        }
        self.site = site.map_err(|mistakes| ProjectError::of_config(&self.file_name, mistakes))?;
        self.is_read = true;
        Ok(())
    }

    /// Returns the overlays beside the file at `path`, in the order of their names: for each the name as the user knows
    /// it, the environment, and the content.
    fn read_overlays(&self, path: &Path, boundary: &Boundary) -> Result<Vec<(String, String, String)>, ProjectError> {
        // If the folder cannot be listed, the scan of its content reports the error.
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(Vec::new()) };
        let site_file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(place) = name.to_str().and_then(|name| site_toml::overlay_of(&site_file, name)) else { continue };
            let overlay = entry.path();
            let shown = overlay.strip_prefix(".").unwrap_or(&overlay).display().to_string();
            if let Some(bytes) =
                overlay.is_file().then(|| boundary.read(&overlay, FILE_BYTES_MAX)).transpose()?.flatten()
            {
                found.push((shown.clone(), place.to_owned(), text_of(bytes, &shown)?));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Returns the content of the file `name` beside `devanture.toml`; empty for a missing file.
    ///
    /// # Errors
    /// `bad_config` if the file cannot be read.
    #[cfg(unix)]
    pub fn settings_of_server(&self, name: &str) -> Result<BTreeMap<String, String>, ProjectError> {
        let read = read_dotenv(&self.folder.join(name), &self.boundary()?)?;
        read.check(name)?;
        Ok(read.values)
    }

    /// Reads the settings in a file of the working folder, which may belong to the app as well.
    fn read_own(&self, name: &str) -> Result<dotenv::Parsed, ProjectError> {
        // The working folder may differ from that of `devanture.toml`, and be outside --root.
        let boundary = Boundary::new(Path::new(""), self.root.as_deref());
        read_dotenv(Path::new(name), &boundary.or_else(|_| Boundary::new(Path::new(""), None))?)
    }

    /// Returns the boundary of all paths in the project.
    ///
    /// # Errors
    /// `usage` if `--root` is invalid.
    pub fn boundary(&self) -> Result<Boundary, ProjectError> {
        Boundary::new(&self.folder, self.root.as_deref())
    }

    /// Refuses a folder that `init` would write into the file and a push would refuse.
    ///
    /// # Errors
    /// `bad_config` if the folder leads out.
    pub fn check_www(&self, www: Option<&str>) -> Result<(), ProjectError> {
        let Some(www) = www else { return Ok(()) };
        Place::within(without_dot(self.folder.join(www)), self.boundary()?, None).check()
    }

    /// Returns the folder of the pages: `dir` of the command line, which may be anywhere, else `www` of the file, else
    /// [`WWW`].
    fn www(&self, dir: Option<&Path>, boundary: &Boundary) -> Place {
        if let Some(dir) = dir {
            return Place::anywhere(without_dot(dir.to_owned()));
        }
        let path = without_dot(self.folder.join(self.site.www.as_deref().unwrap_or(WWW)));
        let key = self.site.www.as_ref().map(|_| ("www", self.site.line_of_www()));
        Place::within(path, boundary.clone(), key)
    }

    /// Returns the readable part of a project with mistakes in its file: the folder of the pages, and the provider of
    /// the rule files. `None` if even that is unknown.
    pub fn despite_mistakes(&self) -> Option<Self> {
        if self.exists && self.is_read {
            return Some(self.clone());
        }
        let text = read_text(Path::new(&self.file_name), &self.boundary().ok()?).ok()??;
        let top = text.lines().take_while(|line| !line.trim_start().starts_with('['));
        let is_kept = |line: &str| {
            let key = line.split('=').next().unwrap_or_default().trim();
            ["www", "rules"].contains(&key)
        };
        // Each key stays on its line, so that messages about the key name the right line.
        let kept: String = top.flat_map(|line| [if is_kept(line) { line } else { "" }, "\n"]).collect();
        let site = SiteFile::parse(&self.file_name, &kept).ok()?;
        Some(Self { site, ..self.clone() })
    }

    /// Returns the folders to push except those that are missing or lead out of the project's folder, with the mistakes
    /// of the latter.
    pub fn sound_folders(&self, dir: Option<&Path>) -> Option<(Folders, Vec<Mistake>)> {
        let (www, _, server) = self.places(dir).ok()?;
        let mut mistakes = Vec::new();
        let mut is_sound = |place: &Place| match place.check() {
            Ok(()) => place.path().is_dir(),
            Err(failure) => {
                mistakes.extend(failure.mistakes);
                false
            }
        };
        let pages = if is_sound(&www) { Pages::Needed } else { Pages::None };
        let server = server.filter(is_sound);
        Some((Folders { www, pages, server, only: None, globs: self.globs() }, mistakes))
    }

    /// Returns the folders to push: the pages, in `dir` if given, and the backend, if any.
    ///
    /// # Errors
    /// `bad_config` if the project names a folder outside its own.
    pub fn folders(&self, dir: Option<&Path>) -> Result<Folders, ProjectError> {
        let (www, pages, server) = self.places(dir)?;
        // Both are said at once.
        let mut misled = Vec::new();
        let places = [Some(&www).filter(|_| pages != Pages::None), server.as_ref()];
        for place in places.into_iter().flatten() {
            match place.check() {
                Err(failure) if failure.mistakes.is_empty() => return Err(failure),
                Err(failure) => misled.extend(failure.mistakes),
                Ok(()) => {}
            }
        }
        if !misled.is_empty() {
            return Err(ProjectError::of_config(&self.file_name, Mistakes(misled)));
        }
        Ok(Folders { www, pages, server, only: None, globs: self.globs() })
    }

    fn globs(&self) -> BundleGlobs {
        BundleGlobs { pages: self.site.pages.clone(), server: self.site.backend.clone() }
    }

    /// Returns the folders to push as named by the project, without checks.
    fn places(&self, dir: Option<&Path>) -> Result<(Place, Pages, Option<Place>), ProjectError> {
        let boundary = self.boundary()?;
        let tables = std::iter::once(&self.site.base).chain(self.site.env.values());
        let has_server = tables.into_iter().any(|table| table.server.is_some());
        let image = self.site.base.server.as_ref().and_then(|server| server.image.as_ref());
        let server = match image {
            // An image in a registry is not a file of the project.
            Some(Image::Registry(_)) => None,
            Some(Image::Archive(path)) => {
                let path = without_dot(self.folder.join(path.as_str()));
                Some(Place::within(
                    path,
                    boundary.clone(),
                    Some((boundary::IMAGE_KEY, self.site.line_of_server_image())),
                ))
            }
            None => has_server.then(|| {
                let path = without_dot(self.folder.join(self.site.server_folder()));
                let key = self.site.server_dir.as_ref().map(|_| ("server.dir", self.site.line_of_server_dir()));
                Place::within(path, boundary.clone(), key)
            }),
        };
        let pages = match has_server && dir.is_none() && self.site.www.is_none() {
            true if self.is_one_of_several => Pages::None,
            true => Pages::IfThere,
            false => Pages::Needed,
        };
        Ok((self.www(dir, &boundary), pages, server))
    }
}

/// Returns the content of a settings file; empty for a missing file.
fn read_dotenv(path: &Path, boundary: &Boundary) -> Result<dotenv::Parsed, ProjectError> {
    // `.env` may be a folder (Python's tools create such folders), or hold bytes of other programs: neither is a
    // mistake here.
    let bytes = if path.is_file() { boundary.read(path, FILE_BYTES_MAX)? } else { None };
    let bytes = bytes.filter(|bytes| !bytes.contains(&0));
    Ok(bytes.map(|bytes| dotenv::parse(&String::from_utf8_lossy(&bytes))).unwrap_or_default())
}

/// Finds the `Procfile` of a backend in the folder `dir` within `folder`: in that folder, or beside `devanture.toml`.
/// Without the folder there is no backend, and a `Procfile` is unrelated.
fn find_procfile(folder: &Path, dir: &str, boundary: &Boundary) -> Result<Option<(String, String)>, ProjectError> {
    let server = folder.join(dir);
    // A folder that leads out is refused by its reader.
    if boundary.follow(&server).is_err() || !server.is_dir() {
        return Ok(None);
    }
    for folder in [server.as_path(), folder] {
        let path = without_dot(folder.join(PROCFILE));
        if path.is_file()
            && let Some(text) = read_text(&path, boundary)?
        {
            return Ok(Some((path.display().to_string(), text)));
        }
    }
    Ok(None)
}

/// `./dist` reads worse than `dist` in every message, and `./.` worse than `.`.
pub fn without_dot(path: PathBuf) -> PathBuf {
    match path.strip_prefix(".") {
        Ok(short) if short.as_os_str().is_empty() => PathBuf::from("."),
        Ok(short) => short.to_owned(),
        Err(_) => path,
    }
}

/// Returns the text of the file at `path`, or `None` for a missing file.
///
/// # Errors
/// `bad_config` if the file cannot be read, or is not text.
pub fn read_text(path: &Path, boundary: &Boundary) -> Result<Option<String>, ProjectError> {
    let bytes = boundary.read(path, FILE_BYTES_MAX)?;
    bytes.map(|bytes| text_of(bytes, &path.display().to_string())).transpose()
}

fn text_of(bytes: Vec<u8>, file_name: &str) -> Result<String, ProjectError> {
    String::from_utf8(bytes).map_err(|error| {
        let fine = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = fine.filter(|b| **b == b'\n').count() + 1;
        let message = "this is not UTF-8".to_owned();
        let mistake = Mistake { file: file_name.to_owned(), line, weight: Weight::Mistake, message, hint: None };
        ProjectError::of_config(file_name, Mistakes(vec![mistake]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::OpenOptions::new().create_new(true).write(true).open(path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        }
        folder
    }

    fn read(files: &[(&str, &str)], chosen_app: Option<&str>) -> (Project, Result<(), ProjectError>) {
        let folder = folder(files);
        let (mut project, read) = Project::read(Some(&folder.path().join("devanture.toml")), None);
        let chosen = read.and_then(|()| project.choose(chosen_app));
        (project, chosen)
    }

    const APPS: &str = "[apps.shop]\nwww = \"shop\"\n[apps.notifier.server]\ndir = \"n\"\ncommand = [\"a\"]\n";

    #[test]
    fn of_several_apps_the_named_one_is_meant() {
        let file = [("devanture.toml", APPS)];
        let (project, chosen) = read(&file, Some("notifier"));
        chosen.unwrap();
        assert_eq!(project.site.app.as_ref().unwrap().as_str(), "notifier");
        let folders = project.folders(None).unwrap();
        assert!(folders.pages == Pages::None && folders.server.unwrap().path().ends_with("n"));
        for chosen_app in [None, Some("other")] {
            let failure = read(&file, chosen_app).1.unwrap_err();
            assert!(failure.is(Code::Usage) && failure.message.contains("notifier, shop"), "{failure}");
        }
        let (project, chosen) = read(&[("devanture.toml", "[apps.shop]\nwww = \"shop\"\n")], None);
        chosen.unwrap();
        assert_eq!(project.site.www.as_deref(), Some("shop"), "there is one alone");
    }

    #[test]
    fn a_procfile_is_read_in_the_folder_of_the_backend_or_beside_the_file() {
        let (toml, procfile) = (("devanture.toml", "app = \"game\"\n"), "web: node server.js\n");
        let from = |files: &[(&str, &str)]| {
            let (project, chosen) = read(files, None);
            chosen.unwrap();
            let name = project.site.procfile.as_ref().map(|from| from.file.clone());
            assert_eq!(project.folders(None).unwrap().server.is_some(), name.is_some());
            name
        };
        let built = ("dist/server/server.js", "");
        assert!(from(&[toml, built, ("dist/server/Procfile", procfile)]).unwrap().ends_with("dist/server/Procfile"));
        assert!(from(&[toml, built, ("Procfile", procfile)]).unwrap().ends_with("/Procfile"));
        assert_eq!(from(&[toml, ("Procfile", procfile)]), None, "nothing was built");
        assert_eq!(from(&[toml, built]), None);
    }
}
