//! Names: apps, environments and aliases, hostnames. Every value is well formed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::text_form;

/// Maximum number of characters of an app name; together with `--` and a place, the name must fit one DNS label (63,
/// RFC 1035 §2.3.4).
pub const APP_CHARACTERS_MAX: usize = 40;
/// Maximum number of characters of an environment or alias.
pub const PLACE_CHARACTERS_MAX: usize = 20;
/// Maximum number of characters of a hostname (RFC 1035 §2.3.4).
pub const HOSTNAME_CHARACTERS_MAX: usize = 253;

/// Error for an invalid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {kind}: {why}")]
pub struct BadName {
    /// Text, shortened for display.
    pub text: String,
    kind: &'static str,
    why: &'static str,
}

impl BadName {
    fn new(text: &str, kind: &'static str, why: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), kind, why }
    }
}

/// Checks the DNS label form of apps, environments and aliases.
fn label(text: &str, kind: &'static str, characters_max: usize) -> Result<(), BadName> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > characters_max {
        "it is too long"
    } else if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        "only a-z, 0-9 and - are allowed"
    } else if text.starts_with('-') || text.ends_with('-') {
        "it begins or ends with -"
    } else if text.contains("--") {
        "it holds --, which separates a preview from its app"
    } else {
        return Ok(());
    };
    Err(BadName::new(text, kind, why))
}

macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// Returns the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_form!($name, BadName);
    };
}

/// Name of an app: a DNS label of 1–40 characters, without `--`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);
text_type!(AppName);

impl AppName {
    /// Returns the name of the console's site and metrics. The name is not a DNS label, so no app or hostname can have
    /// this name.
    #[must_use]
    pub fn console() -> Self {
        Self("_console".to_owned())
    }
}

impl FromStr for AppName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        label(text, "an app name", APP_CHARACTERS_MAX)?;
        Ok(Self(text.to_owned()))
    }
}

/// Name of an environment or an alias: 1–20 characters of a DNS label, never hex digits alone.
///
/// Environments and aliases share one namespace per app, since both stand before `--` in a preview's hostname.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlaceName(String);
text_type!(PlaceName);

impl FromStr for PlaceName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const KIND: &str = "an environment or alias";
        label(text, KIND, PLACE_CHARACTERS_MAX)?;
        if text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadName::new(text, KIND, "hex digits alone would read as a version"));
        }
        if text == "xn" {
            // Before `--` and an app, the name would be a name in another script (RFC 5890 §2.3.2.1).
            return Err(BadName::new(text, KIND, "`xn--` begins names in other scripts"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl PlaceName {
    /// Returns the default environment, `prod`.
    #[must_use]
    pub fn prod() -> Self {
        Self("prod".to_owned())
    }

    /// Returns true for `prod`, the environment at the app's own hostname.
    #[must_use]
    pub fn is_prod(&self) -> bool {
        self.0 == "prod"
    }

    /// Returns the hostname of this environment or alias of `app`: below `domain` for production, otherwise below
    /// `preview_domain`.
    #[must_use]
    pub fn host_of(&self, app: &AppName, domain: &Hostname, preview_domain: &Hostname) -> String {
        if self.is_prod() { format!("{app}.{domain}") } else { format!("{self}--{app}.{preview_domain}") }
    }

    /// Returns `preview`, the environment of pushes to aliases.
    #[must_use]
    pub fn preview() -> Self {
        Self("preview".to_owned())
    }

    /// Returns true for `preview`, the environment of pushes to aliases, with the settings of previews.
    #[must_use]
    pub fn is_preview(&self) -> bool {
        self.0 == "preview"
    }

    /// Makes an alias from a branch name: the branch name if valid, otherwise 13 characters, `-`, and 6 characters of a
    /// hash.
    ///
    /// ```
    /// use devanture_config::PlaceName;
    /// assert_eq!(PlaceName::from_branch("feature-x").as_str(), "feature-x");
    /// assert!(PlaceName::from_branch("feature/Checkout_with-cards").as_str().starts_with("feature-check-"));
    /// ```
    #[must_use]
    pub fn from_branch(branch: &str) -> Self {
        if let Ok(name) = branch.parse() {
            return name;
        }
        let mut slug = String::with_capacity(13);
        for c in branch.chars().map(|c| c.to_ascii_lowercase()) {
            if slug.len() == 13 {
                break;
            }
            match c {
                'a'..='z' | '0'..='9' => slug.push(c),
                _ if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
                _ => {}
            }
        }
        let slug = slug.trim_end_matches('-');
        let hash = blake3::hash(branch.as_bytes()).to_hex();
        let tail = hash.get(..6).unwrap_or_default();
        // A branch without letters and digits still gets a name; `-` keeps the name from being hex alone.
        let slug = if slug.is_empty() { "branch" } else { slug };
        Self(format!("{slug}-{tail}"))
    }
}

/// DNS hostname in lower case, without a port or a final dot; never an IP address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);
text_type!(Hostname);

impl FromStr for Hostname {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const KIND: &str = "a hostname";
        // The URL standard's host parser lower-cases, converts IDN to ASCII and recognises addresses.
        let host = url::Host::parse(text).map_err(|_reason| BadName::new(text, KIND, "it cannot be read as one"))?;
        let url::Host::Domain(domain) = host else {
            return Err(BadName::new(text, KIND, "it is an IP address"));
        };
        let domain = domain.strip_suffix('.').unwrap_or(&domain);
        if domain.is_empty() || domain.len() > HOSTNAME_CHARACTERS_MAX {
            return Err(BadName::new(text, KIND, "it is empty or longer than 253 characters"));
        }
        let label_ok = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        if !domain.split('.').all(label_ok) {
            return Err(BadName::new(text, KIND, "one of its labels is not of letters, digits and -"));
        }
        Ok(Self(domain.to_owned()))
    }
}

impl Hostname {
    /// Returns the name in Unicode: `bücher.example` for `xn--bcher-kva.example`. Labels without a Unicode form stay
    /// unchanged.
    #[must_use]
    pub fn unicode(&self) -> String {
        unicode(&self.0)
    }

    /// Returns true if this name equals `domain` or is below `domain`.
    #[must_use]
    pub fn is_within(&self, domain: &Self) -> bool {
        self.0 == domain.0 || self.0.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

/// Returns the Unicode form of a name in ASCII (UTS #46), or the name itself if the form does not convert back.
fn unicode(ascii: &str) -> String {
    let (text, read) = idna::domain_to_unicode(ascii);
    let is_same = read.is_ok() && text.parse::<Hostname>().is_ok_and(|name| name.0 == ascii);
    if is_same { text } else { ascii.to_owned() }
}

/// Hostname, or wildcard: `*.` and a hostname, for any single label below the hostname.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);
text_type!(HostPattern);

/// Prefix of a wildcard.
const WILDCARD: &str = "*.";

impl FromStr for HostPattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let Some(base) = text.strip_prefix(WILDCARD) else { return Ok(Self(text.parse::<Hostname>()?.0)) };
        let base: Hostname = base.parse()?;
        if base.0.len() + WILDCARD.len() > HOSTNAME_CHARACTERS_MAX {
            return Err(BadName::new(text, "a hostname", "it is longer than 253 characters"));
        }
        Ok(Self(format!("{WILDCARD}{base}")))
    }
}

impl From<Hostname> for HostPattern {
    fn from(name: Hostname) -> Self {
        Self(name.0)
    }
}

impl HostPattern {
    /// Returns the hostname, unless a wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<Hostname> {
        (!self.is_wildcard()).then(|| Hostname(self.0.clone()))
    }

    /// Returns true for a wildcard, which matches any single label below a name.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(WILDCARD)
    }

    /// Returns the hostname, or the parent hostname of a wildcard.
    #[must_use]
    pub fn base(&self) -> Hostname {
        Hostname(self.0.strip_prefix(WILDCARD).unwrap_or(&self.0).to_owned())
    }

    /// Returns the wildcard that matches a hostname: `*.example.org` for `www.example.org`; `None` for a name of one
    /// label.
    #[must_use]
    pub fn wildcard_of(host: &Hostname) -> Option<Self> {
        let (_, base) = host.0.split_once('.')?;
        Some(Self(format!("{WILDCARD}{base}")))
    }

    /// Iterates over the parent names, the nearest first, without names of one label: `example.org` for
    /// `www.example.org` and for `*.example.org`.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        let parent = |name: &str| name.split_once('.').map(|(_, above)| above.to_owned());
        let nearest = self.0.strip_prefix(WILDCARD).map_or_else(|| parent(&self.0), |base| Some(base.to_owned()));
        std::iter::successors(nearest, move |name| parent(name)).filter(|name| name.contains('.')).map(Self)
    }

    /// Returns true if the pattern matches `host`.
    #[must_use]
    pub fn matches(&self, host: &Hostname) -> bool {
        self.0 == host.0 || Self::wildcard_of(host).as_ref() == Some(self)
    }

    /// Returns the pattern in Unicode: `*.bücher.example` for `*.xn--bcher-kva.example`.
    #[must_use]
    pub fn unicode(&self) -> String {
        match self.0.strip_prefix(WILDCARD) {
            Some(base) => format!("{WILDCARD}{}", unicode(base)),
            None => unicode(&self.0),
        }
    }
}

/// Redirect target of an environment's hostnames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Canonical {
    /// This hostname, for all other hostnames except wildcards.
    Name(Hostname),
    /// No redirect: every hostname serves.
    None,
}

impl FromStr for Canonical {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text == "none" { Ok(Self::None) } else { Ok(Self::Name(text.parse()?)) }
    }
}

text_form!(Canonical, BadName);

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name(name) => name.as_str(),
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_app_is_a_dns_label_without_double_hyphen() {
        for good in ["shop", "a", "shop-2", &"a".repeat(40)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "Shop", "-shop", "shop-", "sh--op", "sh.op", "shöp", &"a".repeat(41)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn no_app_has_the_name_of_the_console() {
        assert!(AppName::console().as_str().parse::<AppName>().is_err());
    }

    #[test]
    fn a_place_is_never_hex_alone_or_the_beginning_of_a_name_in_another_script() {
        assert!("prod".parse::<PlaceName>().is_ok());
        assert!("feature-x".parse::<PlaceName>().is_ok());
        assert!("beef".parse::<PlaceName>().is_err());
        assert!("4f2a91bc03de".parse::<PlaceName>().is_err());
        assert!("xn".parse::<PlaceName>().is_err(), "`xn--80a6a1d` is a name in Cyrillic");
        assert!(PlaceName::from_branch("xn").as_str().starts_with("xn-"));
    }

    #[test]
    fn a_hostname_is_lower_case_ascii_without_its_final_dot() {
        assert_eq!("Shop.Example.APP.".parse::<Hostname>().map(String::from), Ok("shop.example.app".to_owned()));
        assert_eq!("bücher.example".parse::<Hostname>().map(String::from), Ok("xn--bcher-kva.example".to_owned()));
        for bad in ["", "127.0.0.1", "[::1]", "a..b", "a b", "-a.example", "a/b"] {
            assert!(bad.parse::<Hostname>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_has_one_form_however_it_is_written() {
        for (text, ascii, shown) in [
            ("bücher.example", "xn--bcher-kva.example", "bücher.example"),
            ("BÜCHER.Example.", "xn--bcher-kva.example", "bücher.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example", "bücher.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example", "bücher.example"),
            ("b%C3%BCcher.example", "xn--bcher-kva.example", "bücher.example"),
            ("straße.example", "xn--strae-oqa.example", "straße.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah", "例え.テスト"),
            ("*.bücher.example", "*.xn--bcher-kva.example", "*.bücher.example"),
            ("*.Example.ORG.", "*.example.org", "*.example.org"),
            ("www.example.org", "www.example.org", "www.example.org"),
        ] {
            let name: HostPattern = text.parse().unwrap();
            assert_eq!((name.as_str(), name.unicode().as_str()), (ascii, shown), "{text}");
            assert_eq!(name.unicode().parse::<HostPattern>().as_ref(), Ok(&name), "{text}");
            assert_eq!(name.exact().map(|name| name.unicode()), (!name.is_wildcard()).then(|| shown.to_owned()));
        }
        for bad in ["*", "*.", "*.*.example", "a.*.example", "*a.example", "**.example", "*.127.0.0.1", "＊.example"] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        let longest = format!("*.{}.example", ["a"; 122].join("."));
        assert!(longest.parse::<HostPattern>().is_ok(), "{}", longest.len());
        assert!(longest.replace("example", "example0").parse::<HostPattern>().is_err());
    }

    #[test]
    fn above_a_name_are_those_that_it_ends_with_but_none_of_one_label() {
        for (name, expected) in [
            ("a.b.example.org", &["b.example.org", "example.org"][..]),
            ("*.b.example.org", &["b.example.org", "example.org"]),
            ("example.org", &[]),
            ("*.org", &[]),
            ("localhost", &[]),
        ] {
            let above: Vec<String> =
                name.parse::<HostPattern>().unwrap().above().map(|above| above.to_string()).collect();
            assert_eq!(above, expected, "{name}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let pattern: HostPattern = "*.example.org".parse().unwrap();
        for (host, expected) in [
            ("www.example.org", true),
            ("xn--bcher-kva.example.org", true),
            ("example.org", false),
            ("a.b.example.org", false),
            ("www.example.com", false),
            ("org", false),
        ] {
            let host: Hostname = host.parse().unwrap();
            assert_eq!(pattern.matches(&host), expected, "{host}");
            assert!(HostPattern::from(host.clone()).matches(&host));
        }
        assert_eq!(pattern.base().as_str(), "example.org");
    }

    #[test]
    fn a_canonical_is_a_name_or_none() {
        assert_eq!("none".parse(), Ok(Canonical::None));
        assert_eq!("Bücher.example".parse::<Canonical>().map(String::from), Ok("xn--bcher-kva.example".to_owned()));
        assert!("*.example.org".parse::<Canonical>().is_err());
    }

    /// Plausible labels, in several scripts.
    fn label() -> impl Strategy<Value = String> {
        proptest::string::string_regex("[a-z0-9äöüßéñçøåабвгдежαβγδ日本語中文한국]{1,8}").unwrap()
    }

    proptest! {
        #[test]
        fn what_is_shown_of_a_name_is_read_back_as_it(labels in proptest::collection::vec(label(), 1..5)) {
            let text = labels.join(".");
            if let Ok(name) = text.parse::<Hostname>() {
                prop_assert!(name.as_str().is_ascii());
                prop_assert_eq!(name.unicode().parse::<Hostname>(), Ok(name.clone()));
                prop_assert_eq!(name.as_str().parse::<Hostname>(), Ok(name));
            }
        }

        #[test]
        fn any_text_is_a_name_in_one_form_or_none(text in ".{0,40}") {
            if let Ok(name) = text.parse::<HostPattern>() {
                prop_assert_eq!(name.as_str().parse::<HostPattern>(), Ok(name.clone()));
                prop_assert_eq!(name.unicode().parse::<HostPattern>(), Ok(name));
            }
        }

        #[test]
        fn a_wildcard_matches_what_lies_one_label_below(one in label(), base in label(), more in label()) {
            let host = |text: String| text.parse::<Hostname>();
            if let (Ok(below), Ok(deeper), Ok(base)) =
                (host(format!("{one}.{base}.example")), host(format!("{more}.{one}.{base}.example")), host(format!("{base}.example")))
            {
                let pattern: HostPattern = format!("*.{base}").parse().unwrap();
                prop_assert!(pattern.matches(&below));
                prop_assert!(!pattern.matches(&base));
                prop_assert!(!pattern.matches(&deeper));
                prop_assert_eq!(HostPattern::wildcard_of(&below), Some(pattern));
            }
        }

        #[test]
        fn every_branch_becomes_a_place(branch in ".{0,80}") {
            let name = PlaceName::from_branch(&branch);
            prop_assert!(name.as_str().parse::<PlaceName>().is_ok(), "{name}");
            prop_assert_eq!(&name, &PlaceName::from_branch(&branch));
        }
    }
}
