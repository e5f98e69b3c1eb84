//! Paths of the edge's own below `/.well-known/devanture/`.

use devanture_config::Sha256;

/// Below it lie the edge's own paths; a site's files may lie there, too.
const FOLDER: &str = "/.well-known/devanture/";
/// Below that, the dictionaries of pages, by their SHA-256.
const DICTIONARIES: &str = "dictionary/";
/// Where certificate authorities look for the proof that somebody has a name: by ACME (RFC 8555 §8.3), and by an agreed
/// change to a website (§3.2.2.4.18 of the Baseline Requirements of the CA/Browser Forum).
const PROOFS: [&str; 2] = ["acme-challenge/", "pki-validation/"];
/// Below it lie the folders of [`PROOFS`] (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/";

/// A path of the edge's own: it is answered before routes, rules and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPath {
    /// The settings that the environment shows to its front.
    Env,
    /// Where browsers report what pages load without a hash, where its site has hashes.
    Integrity,
    /// The version.
    Release,
    /// Where share links lead to; what they open is open by itself.
    Share,
    /// The page that says whether the environment is up, where its site has one.
    Status,
    /// The compression dictionary of its pages that has this SHA-256.
    Dictionary(Sha256),
}

impl OwnPath {
    /// Where [`OwnPath::Integrity`] is.
    pub const INTEGRITY: &str = "/.well-known/devanture/integrity";

    /// The one at `path`, as it was sent, if there is one.
    #[must_use]
    #[inline]
    pub fn of(path: &str) -> Option<Self> {
        Self::below(path.strip_prefix(FOLDER)?)
    }

    fn below(rest: &str) -> Option<Self> {
        match rest {
            "env.json" => Some(Self::Env),
            "integrity" => Some(Self::Integrity),
            "release.json" => Some(Self::Release),
            "share" => Some(Self::Share),
            "status" => Some(Self::Status),
            other => Some(Self::Dictionary(other.strip_prefix(DICTIONARIES)?.parse().ok()?)),
        }
    }

    /// Whether certificate authorities look at `path`, as it was sent, for the proof that somebody has the name. At a
    /// name that the edge gives such a path is the edge's; at hostnames of their own apps answer it.
    #[must_use]
    #[inline]
    pub fn is_for_proofs(path: &str) -> bool {
        path.strip_prefix(WELL_KNOWN).is_some_and(|rest| PROOFS.iter().any(|folder| rest.starts_with(folder)))
    }

    /// Where the dictionary with this SHA-256 is.
    #[must_use]
    pub fn of_dictionary(sha256: Sha256) -> String {
        format!("{FOLDER}{DICTIONARIES}{sha256}")
    }
}
