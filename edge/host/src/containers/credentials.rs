//! Credentials for registries in the format of containers-auth.json(5), as written by `podman login --authfile`.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use devanture_config::site_toml::RegistryImage;
use serde::Deserialize;

use super::error::Error;

/// Maximum length of a credentials file in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct AuthFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

fn read(file: &Path) -> Result<AuthFile, Error> {
    let failed = |why: String| Error::Credentials { file: file.display().to_string(), why };
    let length = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(failed(format!("it has {length} bytes; {FILE_BYTES_MAX} are allowed")));
    }
    let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
    // The parser's message could contain a part of the text.
    serde_json::from_slice(&text)
        .map_err(|error| failed(format!("line {} is no JSON of containers-auth.json", error.line())))
}

/// Checks that a credentials file is readable.
///
/// # Errors
/// [`Error::Credentials`].
pub fn check_file(file: &Path) -> Result<(), Error> {
    read(file).map(drop)
}

/// Returns the value of `X-Registry-Auth` for an image: the credentials of the longest matching part of the image name.
/// Read for each call, so that new credentials need no restart.
///
/// # Errors
/// [`Error::Credentials`].
pub(super) fn header_for(file: &Path, image: &RegistryImage) -> Result<Option<String>, Error> {
    let auths = read(file)?.auths;
    let best = auths.iter().filter(|(registry, _)| image.is_in(registry)).max_by_key(|(registry, _)| registry.len());
    let Some((registry, entry)) = best else { return Ok(None) };
    let failed = || Error::Credentials {
        file: file.display().to_string(),
        why: format!("those of {registry} are no user name and password"),
    };
    let pair = entry.auth.as_deref().and_then(|auth| String::from_utf8(STANDARD.decode(auth).ok()?).ok());
    let value = match (pair.as_deref().and_then(|pair| pair.split_once(':')), &entry.identitytoken) {
        (_, Some(token)) => serde_json::json!({ "identitytoken": token }),
        (Some((username, password)), None) => serde_json::json!({ "username": username, "password": password }),
        (None, None) => return Err(failed()),
    };
    Ok(Some(URL_SAFE.encode(value.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_base::durable;
    use devanture_config::site_toml::Image;

    fn image(text: &str) -> RegistryImage {
        match text.parse().unwrap() {
            Image::Registry(image) => image,
            Image::Archive(path) => panic!("{path} is an archive"),
        }
    }

    #[test]
    fn the_credentials_of_the_longest_part_of_a_name_count_and_none_are_in_a_message() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth.json");
        let pair = |text: &str| STANDARD.encode(text);
        let text = serde_json::json!({ "auths": {
            "registry.example.org": { "auth": pair("all:sesame") },
            "registry.example.org/team": { "auth": pair("team:open:sesame") },
            "other.example.org": { "auth": "sesame" },
        } });
        durable::write_file(&file, text.to_string().as_bytes(), 0o600).unwrap();
        let of = |name: &str| {
            let header = header_for(&file, &image(name)).unwrap()?;
            Some(String::from_utf8(URL_SAFE.decode(header).unwrap()).unwrap())
        };
        assert!(of("registry.example.org/a:1").unwrap().contains("\"all\""));
        assert!(of("registry.example.org/team/a:1").unwrap().contains("open:sesame"));
        assert_eq!(of("none.example.org/a:1"), None);
        let refused = header_for(&file, &image("other.example.org/a:1")).unwrap_err().to_string();
        assert!(refused.contains("other.example.org") && !refused.contains("sesame"), "{refused}");
        durable::write_file(&file, b"sesame", 0o600).unwrap();
        let refused = check_file(&file).unwrap_err().to_string();
        assert!(refused.contains("line 1") && !refused.contains("sesame"), "{refused}");
    }
}
