//! Where the command was called: `devanture.toml`, its overlays and `.env`, read from the disk.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use devanture_config::mistake::{Mistake, Mistakes, Weight};
use devanture_config::problem::Code;
use devanture_config::site_toml::{self, OverlayText, SiteFile};

use crate::dotenv;
use crate::exit::Failure;

/// Most bytes that a file of settings may have.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The folder that is pushed where nobody says another.
pub(crate) const WWW: &str = "www";

/// What the working folder says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Project {
    /// The folder that holds `devanture.toml`, or would.
    pub(crate) folder: PathBuf,
    /// The name of `devanture.toml` as the person knows it.
    pub(crate) file_name: String,
    /// What it says, with its overlays laid over it; nothing where there is none.
    pub(crate) site: SiteFile,
    /// Whether there is one.
    pub(crate) exists: bool,
    /// What `.env` says.
    pub(crate) dotenv: BTreeMap<String, String>,
}

impl Project {
    /// Reads `devanture.toml`, or the file that `--config` names, and `.env` of the working folder.
    ///
    /// What went wrong comes back beside what could be read: `bad_config` with all mistakes, or `usage` where the file
    /// that `--config` names does not exist.
    pub(crate) fn read(config: Option<&Path>) -> (Self, Result<(), Failure>) {
        let path = config.unwrap_or_else(|| Path::new(site_toml::FILE_NAME));
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut project = Self { folder, file_name: path.display().to_string(), ..Self::default() };
        let site = project.read_site(path, config.is_some());
        let dotenv = project.read_dotenv();
        (project, site.and(dotenv))
    }

    fn read_site(&mut self, path: &Path, must_exist: bool) -> Result<(), Failure> {
        let bytes = read_bytes(path)?;
        if bytes.is_none() && must_exist {
            let message = format!("There is no file {}, which --config names.", self.file_name);
            return Err(Failure::new(Code::Usage, message));
        }
        let text = bytes.map(|bytes| text_of(bytes, &self.file_name)).transpose()?;
        let found = self.read_overlays(path)?;
        let overlays: Vec<OverlayText<'_>> =
            found.iter().map(|(file, place, text)| OverlayText { file, place, text }).collect();
        let site = SiteFile::parse_with(&self.file_name, text.as_deref(), &overlays);
        self.site = site.map_err(|mistakes| Failure::of_config(&self.file_name, mistakes))?;
        self.exists = text.is_some();
        Ok(())
    }

    /// The overlays beside the file at `path`, in the order of their names: each one's name as the person knows it, its
    /// environment, and what it holds.
    fn read_overlays(&self, path: &Path) -> Result<Vec<(String, String, String)>, Failure> {
        // Where the folder cannot be listed, what is pushed of it will say so.
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Ok(Vec::new()) };
        let site_file = path.file_name().unwrap_or_default().to_string_lossy();
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(place) = name.to_str().and_then(|name| site_toml::overlay_of(&site_file, name)) else { continue };
            let overlay = entry.path();
            let shown = overlay.strip_prefix(".").unwrap_or(&overlay).display().to_string();
            if let Some(bytes) = overlay.is_file().then(|| read_bytes(&overlay)).transpose()?.flatten() {
                found.push((shown.clone(), place.to_owned(), text_of(bytes, &shown)?));
            }
        }
        found.sort();
        Ok(found)
    }

    fn read_dotenv(&mut self) -> Result<(), Failure> {
        let path = Path::new(dotenv::FILE_NAME);
        // `.env` may be a folder (Python's tools make such ones), or hold other programs' bytes: neither is a mistake here.
        if path.is_file()
            && let Some(bytes) = read_bytes(path)?
        {
            self.dotenv = dotenv::parse(&String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    /// The folder to push: `dir` of the command line, else `www` of the file, else [`WWW`].
    pub(crate) fn www(&self, dir: Option<&Path>) -> PathBuf {
        match dir {
            Some(dir) => dir.to_owned(),
            None => {
                let www = self.folder.join(self.site.www.as_deref().unwrap_or(WWW));
                // `./dist` reads worse than `dist` in every message.
                match www.strip_prefix(".") {
                    Ok(short) if !short.as_os_str().is_empty() => short.to_owned(),
                    _ => www,
                }
            }
        }
    }
}

/// The bytes of the file at `path`, or nothing where there is no file.
fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let bad = |why: String| Failure::new(Code::BadConfig, format!("{} cannot be read: {why}.", path.display()));
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(bad(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(Some(bytes))
}

/// The text of the file at `path`, or nothing where there is no file.
///
/// # Errors
/// `bad_config` where it cannot be read, or is no text.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    read_bytes(path)?.map(|bytes| text_of(bytes, &path.display().to_string())).transpose()
}

fn text_of(bytes: Vec<u8>, file_name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let fine = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = fine.filter(|b| **b == b'\n').count() + 1;
        let message = "this is not UTF-8".to_owned();
        let mistake = Mistake { file: file_name.to_owned(), line, weight: Weight::Mistake, message, hint: None };
        Failure::of_config(file_name, Mistakes(vec![mistake]))
    })
}
