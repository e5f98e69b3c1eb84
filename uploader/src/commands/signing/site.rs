//! A live site from the view of a visitor: each file of a manifest is requested, and the received bytes are hashed.

use std::io::{self, Write};
use std::time::Duration;

use devanture_config::manifest::FileEntry;
use devanture_config::path::BundlePath;
use devanture_config::problem::Code;
use devanture_config::{Digest, VersionId};
use devanture_site::integrity::without_hashes;
use devanture_site::media::is_html;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION};
use reqwest::{Response, StatusCode};
use serde::Serialize;
use url::Url;

use crate::edge::client::{CONNECT_TIME_MAX, root_cause, with_proxy};
use crate::edge::trust;
use crate::output::exit::Failure;
use crate::settings::EdgeAccess;

/// Upper bound of the site's own redirects for one file, as from `about.html` to `about`.
const REDIRECTS_MAX: usize = 3;
/// Characters of a path's segment that need no encoding.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Time for one file, in addition to …
const FILE_TIME: Duration = Duration::from_secs(60);
/// … the time for its bytes at this minimal rate per second.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// Bytes of an answer allowed beyond twice the size of its file.
const BYTES_BEYOND: u64 = 1 << 20;
/// The field with the version of the answer.
const VERSION: &str = "devanture-version";

/// The reason of missing files on a protected site.
pub(super) const PROTECTED: &str = "the answer is 401, as of a protected environment";

/// The result for one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Found {
    /// The bytes match, byte for byte.
    Same,
    /// The bytes do not belong to the version.
    Foreign(String),
    /// No answer could be checked.
    Missing(String),
    /// The manifest says that no file answers there.
    Unchecked(String),
    /// The bytes belong to a different file of the version, as a rule may specify.
    OtherFile,
}

/// The site.
pub(super) struct Site {
    http: reqwest::Client,
    url: Url,
    version: VersionId,
    /// Set if the pages contain the hashes of their assets, inserted by the edge.
    has_hashes: bool,
}

impl Site {
    /// Prepares the check, without any request. The token is never sent to the site.
    pub(super) fn new(url: &Url, access: &EdgeAccess, version: VersionId, has_hashes: bool) -> Result<Self, Failure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("devanture/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(ca) = &access.ca {
            builder = builder.tls_backend_preconfigured(trust::with_file(ca)?);
        }
        let host = url.host_str().unwrap_or_default();
        if host == "localhost" || host.ends_with(".localhost") {
            // Like browsers and curl (RFC 6761 §6.3).
            builder = builder.resolve(host, ([127, 0, 0, 1], 0).into());
        }
        let http = with_proxy(builder, url)?
            .build()
            .map_err(|error| Failure::new(Code::Usage, format!("TLS cannot be used: {error}.")))?;
        Ok(Self { http, url: url.clone(), version, has_hashes })
    }

    /// Requests a file without a coding, and, if its bytes arrive, with one.
    pub(super) async fn check(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
        is_of_version: &(dyn Fn(Digest) -> bool + Sync),
    ) -> Result<Found, Failure> {
        let found = self.once(path, entry, is_of_version, "identity").await?;
        if found != Found::Same {
            return Ok(found);
        }
        self.once(path, entry, is_of_version, "zstd, gzip").await
    }

    async fn once(
        &self,
        path: &BundlePath,
        entry: &FileEntry,
        is_of_version: &(dyn Fn(Digest) -> bool + Sync),
        codings: &str,
    ) -> Result<Found, Failure> {
        let mut url = self.address(path)?;
        for _ in 0..=REDIRECTS_MAX {
            let request = self.http.get(url.clone()).header(ACCEPT, "*/*").header(ACCEPT_ENCODING, codings);
            let time = FILE_TIME + Duration::from_secs(entry.size / BYTES_PER_SECOND_MIN);
            let response = request.timeout(time).send().await.map_err(|error| unreachable(&url, &error))?;
            let status = response.status();
            if status.is_redirection() {
                let to = response.headers().get(LOCATION).and_then(|to| url.join(to.to_str().ok()?).ok());
                match to {
                    Some(to) if to.origin() == url.origin() => {
                        url = to;
                        continue;
                    }
                    Some(to) => return Ok(Found::Missing(format!("it leads to {to}"))),
                    None => {}
                }
            }
            // Browsers show the body of any status, and run scripts of 203.
            let is_page = self.has_hashes && is_html(path.as_str(), entry.media_type.as_deref());
            let found = self.read(response, (entry, is_page), is_of_version, &url).await?;
            return Ok(match found {
                found if status == StatusCode::OK => found,
                Found::Same => Found::OtherFile,
                Found::Foreign(why) if status.is_success() => Found::Foreign(why),
                Found::OtherFile => Found::OtherFile,
                _ if status == StatusCode::UNAUTHORIZED => Found::Missing(PROTECTED.to_owned()),
                _ => Found::Missing(format!("the answer is {}", status.as_u16())),
            });
        }
        Ok(Found::Missing(format!("it leads on more than {REDIRECTS_MAX} times")))
    }

    async fn read(
        &self,
        mut response: Response,
        (entry, is_page): (&FileEntry, bool),
        is_of_version: &(dyn Fn(Digest) -> bool + Sync),
        url: &Url,
    ) -> Result<Found, Failure> {
        let field = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if let Some(other) = field(VERSION).filter(|id| *id != self.version.short()) {
            return Ok(Found::Foreign(format!("the version {} answers", other.chars().take(20).collect::<String>())));
        }
        let coding = field(CONTENT_ENCODING.as_str());
        // Any file of a version has a bounded length; a longer body belongs to a different file.
        let Some(mut hashing) = Hashing::new(coding.as_deref(), entry.size, is_page) else {
            return Ok(Found::Foreign(format!("the coding {} was not accepted", coding.unwrap_or_default())));
        };
        // A coding may turn many bytes into few.
        let mut left = bytes_max(entry.size);
        while let Some(bytes) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
            let rest = left.checked_sub(bytes.len() as u64);
            left = rest.unwrap_or_default();
            if rest.is_none() || hashing.write_all(&bytes).is_err() {
                return Ok(Found::Foreign(
                    "the bytes are more than the file's, or not as their coding says".to_owned(),
                ));
            }
        }
        let hashed = hashing.end().map(|(digest, page)| {
            let page = page.filter(|_| digest != entry.hash).and_then(|page| without_hashes(&page));
            page.map_or(digest, |page| Digest::of(&page))
        });
        Ok(match hashed {
            Some(digest) if digest == entry.hash => Found::Same,
            Some(digest) if is_of_version(digest) => Found::OtherFile,
            Some(digest) => Found::Foreign(format!("the bytes have the BLAKE3 {}", digest.short())),
            None => Found::Foreign("the bytes are not as their coding says".to_owned()),
        })
    }

    fn address(&self, path: &BundlePath) -> Result<Url, Failure> {
        let encoded: Vec<String> =
            path.as_str().split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        let address = self.url.join(&format!("/{}", encoded.join("/")));
        address.map_err(|error| Failure::new(Code::Usage, format!("{} is no address: {error}.", self.url)))
    }
}

/// Returns the bytes to read in place of a file of `size`: a different file of the version may be longer, and is
/// recognised.
const fn bytes_max(size: u64) -> u64 {
    size.saturating_mul(2).saturating_add(BYTES_BEYOND)
}

fn unreachable(url: &Url, error: &reqwest::Error) -> Failure {
    Failure::new(Code::Unreachable, format!("{url} does not answer: {}.", root_cause(error)))
}

/// A hash of bytes before their coding.
enum Hashing {
    Gzip(flate2::write::MultiGzDecoder<Bounded>),
    Plain(Bounded),
    Zstd(zstd::stream::write::Decoder<'static, Bounded>),
}

impl Hashing {
    fn new(coding: Option<&str>, size: u64, keeps: bool) -> Option<Self> {
        let bounded = Bounded { hasher: blake3::Hasher::new(), left: bytes_max(size), kept: keeps.then(Vec::new) };
        match coding {
            None | Some("identity") => Some(Self::Plain(bounded)),
            Some("gzip") => Some(Self::Gzip(flate2::write::MultiGzDecoder::new(bounded))),
            Some("zstd") => zstd::stream::write::Decoder::new(bounded).ok().map(Self::Zstd),
            Some(_) => None,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Plain(bounded) => bounded.write_all(bytes),
            Self::Zstd(decoder) => decoder.write_all(bytes),
        }
    }

    /// Returns the hash, and the bytes if they were to be stored.
    fn end(self) -> Option<(Digest, Option<Vec<u8>>)> {
        let bounded = match self {
            Self::Gzip(decoder) => decoder.finish().ok()?,
            Self::Plain(bounded) => bounded,
            Self::Zstd(mut decoder) => {
                decoder.flush().ok()?;
                decoder.into_inner()
            }
        };
        Some((Digest::from(*bounded.hasher.finalize().as_bytes()), bounded.kept))
    }
}

/// A hash with an upper bound of bytes: a coding may expand few bytes to many.
struct Bounded {
    hasher: blake3::Hasher,
    left: u64,
    /// The bytes, if they are to be stored.
    kept: Option<Vec<u8>>,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(length).ok_or_else(|| io::Error::other("too many bytes"))?;
        self.hasher.update(bytes);
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
