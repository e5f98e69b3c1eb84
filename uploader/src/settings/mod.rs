//! Settings: flags, then the environment, then `.env.APP`, then `.env`, then `devanture.toml`; and the allowed
//! combinations.
//!
//! This module reads neither files nor the process environment: the maps are arguments, so that the order is a table of
//! tests.

mod address;
mod identity;
mod person;
mod proxy;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use devanture_config::problem::Code;
use devanture_config::site_toml::{self, SiteFile};
use devanture_config::{AppName, PlaceName};
use devanture_project::dotenv;
use url::Url;

use crate::output::exit::Failure;
use address::{edge_url, is_loopback, shown_url};
pub(crate) use identity::{BYTES_MAX as IDENTITY_TOKEN_BYTES_MAX, IdentityAccess, Origin};
pub(crate) use person::{PersonAccess, no_token};
pub(crate) use proxy::Proxy;

/// The place of pushes that make only previews, under which the history stores pushes to aliases.
pub(crate) const PREVIEW: &str = "preview";

/// The source of a setting, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A flag of the command line.
    Flag,
    /// A variable of the environment.
    Environment,
    /// `.env.APP` in the working folder.
    AppDotEnv,
    /// `.env` in the working folder.
    DotEnv,
    /// `devanture.toml`.
    SiteFile,
    /// The default.
    Default,
}

impl Source {
    /// Returns true if only the user, or the machine's owner, can have written the source. A pull request brings its
    /// own `.env` and `devanture.toml`.
    pub(crate) fn is_trusted(self) -> bool {
        matches!(self, Self::Flag | Self::Environment)
    }
}

/// A setting with several sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// The address of the edge's admin listener.
    Url,
    /// The token.
    Token,
    /// The app.
    App,
    /// The environment.
    Env,
    /// A PEM file to trust.
    Ca,
    /// The name of an account, in place of a token.
    Login,
    /// The account's password.
    Password,
}

impl Name {
    /// All names, in the order of `--explain`.
    pub(crate) const ALL: [Self; 7] =
        [Self::Url, Self::Token, Self::App, Self::Env, Self::Ca, Self::Login, Self::Password];

    /// The variable's name, in the environment and in `.env`.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Url => "DEVANTURE_URL",
            Self::Token => "DEVANTURE_TOKEN",
            Self::App => dotenv::APP_VARIABLE,
            Self::Env => "DEVANTURE_ENV",
            Self::Ca => "DEVANTURE_CA",
            Self::Login => "DEVANTURE_LOGIN",
            Self::Password => "DEVANTURE_PASSWORD",
        }
    }

    /// The flag.
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::Url => "--url",
            Self::Token => "--token",
            Self::App => "--app",
            Self::Env => "--env",
            Self::Ca => "--ca",
            // There is no flag: other users of the machine could see its value.
            Self::Login | Self::Password => self.variable(),
        }
    }

    /// Returns true if an empty text counts as unset. CI systems often set an unset variable to an empty text. For an
    /// address, a token and a file an empty text means unset; an empty app or environment is a mistake, since ignoring
    /// it could push to the wrong place.
    const fn may_be_empty(self) -> bool {
        matches!(self, Self::Url | Self::Token | Self::Ca | Self::Login | Self::Password)
    }
}

/// A setting and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting<T> {
    /// The value.
    pub(crate) value: T,
    /// The source.
    pub(crate) source: Source,
}

/// A token, which is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// Wraps a token that an edge has just made.
    #[cfg(unix)]
    pub(crate) fn made(text: String) -> Self {
        Self(text)
    }

    /// Returns the token itself, for the one header that carries it.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A credential of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// A token.
    Token(Token),
    /// An identity token of a CI system.
    Identity(Box<IdentityAccess>),
    /// An account.
    Login(LoginAccess),
    /// A login at the provider of the edge.
    Person(PersonAccess),
}

/// An account, and the folder for the result of its exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoginAccess {
    /// The name.
    pub(crate) name: String,
    /// The password; without one, only a stored login can be used.
    pub(crate) password: Option<Token>,
    /// Set if the name does not come from a file of the project.
    pub(crate) is_trusted: bool,
    /// The state folder, if any.
    pub(crate) state_folder: Option<PathBuf>,
}

/// Settings to talk to an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EdgeAccess {
    /// The address, without a final slash.
    pub(crate) url: Url,
    /// The credential.
    pub(crate) credential: Credential,
    /// A PEM file to trust beside the system's.
    pub(crate) ca: Option<PathBuf>,
}

/// The texts of all settings, each from its strongest source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    texts: BTreeMap<Name, Setting<String>>,
    site_file_name: String,
    has_site_file: bool,
    app_dotenv_name: String,
    identity: identity::Found,
    /// The default environment of the command.
    usual_place: Option<PlaceName>,
    /// The folder for the state of this program, if any.
    pub(crate) state_folder: Option<PathBuf>,
}

/// The sources of settings.
pub(crate) struct Sources<'s> {
    /// The given flags.
    pub(crate) flags: &'s BTreeMap<Name, String>,
    /// The environment.
    pub(crate) environment: &'s BTreeMap<String, String>,
    /// `.env.APP`.
    pub(crate) app_dotenv: &'s BTreeMap<String, String>,
    /// `.env`.
    pub(crate) dotenv: &'s BTreeMap<String, String>,
    /// `devanture.toml`.
    pub(crate) site: &'s SiteFile,
    /// The name of `devanture.toml` as the user knows it.
    pub(crate) site_file_name: &'s str,
    /// Set if the file exists.
    pub(crate) has_site_file: bool,
}

impl Settings {
    /// Takes each setting from its strongest source.
    pub(crate) fn gather(sources: &Sources<'_>) -> Self {
        let mut texts = BTreeMap::new();
        for name in Name::ALL {
            let of_site = match name {
                Name::Url => sources.site.url.clone(),
                Name::App => sources.site.app.as_ref().map(ToString::to_string),
                Name::Env | Name::Token | Name::Ca | Name::Login | Name::Password => None,
            };
            let default = (name == Name::Env).then(|| PlaceName::prod().to_string());
            let variable = |map: &BTreeMap<String, String>| {
                map.get(name.variable()).filter(|text| !(name.may_be_empty() && text.trim().is_empty())).cloned()
            };
            let candidates = [
                (Source::Flag, sources.flags.get(&name).cloned()),
                (Source::Environment, variable(sources.environment)),
                // The app of the file is known before the file is read.
                (Source::AppDotEnv, variable(sources.app_dotenv).filter(|_| name != Name::App)),
                (Source::DotEnv, variable(sources.dotenv)),
                (Source::SiteFile, of_site),
                (Source::Default, default),
            ];
            let strongest = candidates.into_iter().find_map(|(source, text)| Some(Setting { value: text?, source }));
            texts.extend(strongest.map(|setting| (name, setting)));
        }
        let state_folder = state_folder(sources.environment);
        let site_file_name = sources.site_file_name.to_owned();
        let mut settings = Self {
            texts,
            site_file_name,
            has_site_file: sources.has_site_file,
            app_dotenv_name: String::new(),
            identity: identity::Found::of(sources.environment),
            usual_place: None,
            state_folder,
        };
        let app = settings.explicit_app().ok().flatten();
        settings.app_dotenv_name = app.map(|app| dotenv::file_name_of(&app.value)).unwrap_or_default();
        settings
    }

    /// Sets the default environment of the command: an identity token is exchanged for no other.
    pub(crate) fn set_usual_place(&mut self, place: Option<PlaceName>) {
        self.usual_place = place;
    }

    /// Returns the source of a setting, as a person knows it.
    fn source_name(&self, name: Name, source: Source) -> &str {
        match source {
            Source::Flag => name.flag(),
            Source::Environment => name.variable(),
            Source::AppDotEnv => &self.app_dotenv_name,
            Source::DotEnv => dotenv::FILE_NAME,
            Source::SiteFile => &self.site_file_name,
            Source::Default => "the default",
        }
    }

    /// Returns the app.
    ///
    /// # Errors
    /// `usage` if the app is not set, or the name is invalid.
    pub(crate) fn app(&self) -> Result<Setting<AppName>, Failure> {
        self.parsed(Name::App)?.ok_or_else(|| {
            self.unsaid("Which app is meant is not said.")
                .hint(format!("write app = \"NAME\" in {}, or give --app NAME", site_toml::FILE_NAME))
        })
    }

    /// Returns the failure of a missing setting, which distinguishes a wrong folder from an incomplete file.
    fn unsaid(&self, message: &str) -> Failure {
        let folder = match self.has_site_file {
            true => String::new(),
            false => format!(" This folder has no {}.", self.site_file_name),
        };
        Failure::new(Code::Usage, format!("{message}{folder}"))
    }

    /// Returns the app, if one is set, and checks its name.
    pub(crate) fn explicit_app(&self) -> Result<Option<Setting<AppName>>, Failure> {
        self.parsed(Name::App)
    }

    /// Returns the environment.
    ///
    /// # Errors
    /// `usage` if the name is invalid.
    pub(crate) fn environment(&self) -> Result<Setting<PlaceName>, Failure> {
        let setting = self.parsed(Name::Env)?;
        Ok(setting.unwrap_or_else(|| Setting { value: PlaceName::prod(), source: Source::Default }))
    }

    fn parsed<T>(&self, name: Name) -> Result<Option<Setting<T>>, Failure>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Some(setting) = self.texts.get(&name) else { return Ok(None) };
        match setting.value.parse() {
            Ok(value) => Ok(Some(Setting { value, source: setting.source })),
            Err(error) => {
                let source = self.source_name(name, setting.source);
                Err(Failure::new(Code::Usage, format!("{source}: {error}.")))
            }
        }
    }

    /// Returns the settings for requests to the edge.
    ///
    /// # Errors
    /// `untrusted_source` if a token of the user or the machine would go to an address, or be trusted to a CA, named by
    /// a file of the project; `usage` if a setting is missing or cannot be read.
    pub(crate) fn edge_access(&self) -> Result<EdgeAccess, Failure> {
        self.access_with(|others| self.credential(others))
    }

    /// Returns the access with the credential for the address and the CA of these settings.
    fn access_with(
        &self,
        credential: impl FnOnce(&[(Name, Option<&Setting<String>>)]) -> Result<Credential, Failure>,
    ) -> Result<EdgeAccess, Failure> {
        let url = self.texts.get(&Name::Url).ok_or_else(|| {
            self.unsaid("Where the edge is, is not said.")
                .hint("set DEVANTURE_URL to the address of its admin listener, such as https://127.0.0.1:8444")
        })?;
        let ca = self.texts.get(&Name::Ca);
        let credential = credential(&[(Name::Url, Some(url)), (Name::Ca, ca)])?;
        Ok(EdgeAccess {
            url: edge_url(&url.value, self.source_name(Name::Url, url.source))?,
            credential,
            ca: ca.map(|setting| PathBuf::from(&setting.value)),
        })
    }

    /// Returns the credential of the edge: the token or the login, from the stronger source, the token for equal
    /// sources.
    fn credential(&self, others: &[(Name, Option<&Setting<String>>)]) -> Result<Credential, Failure> {
        let text = |name| self.texts.get(&name);
        match (text(Name::Token), text(Name::Login), text(Name::Password)) {
            (Some(token), login, _) if login.is_none_or(|login| token.source <= login.source) => {
                self.check_trust(Name::Token, token.source, others)?;
                let token = read_secret(&token.value, self.source_name(Name::Token, token.source), "token")?;
                Ok(Credential::Token(token))
            }
            (_, Some(login), password) => {
                // The user's part of the two must not go to an address that only the project names.
                for (name, setting) in [(Name::Login, Some(login)), (Name::Password, password)] {
                    if let Some(setting) = setting {
                        self.check_trust(name, setting.source, others)?;
                    }
                }
                Ok(Credential::Login(LoginAccess {
                    name: login.value.trim().to_owned(),
                    // JSON carries the password, so that it may contain any character, also at its ends.
                    password: password.map(|password| Token(password.value.clone())),
                    is_trusted: login.source.is_trusted(),
                    state_folder: self.state_folder.clone(),
                }))
            }
            (_, None, Some(_)) => Err(Failure::new(Code::Usage, "There is a password, and nobody said whose it is.")
                .hint("set DEVANTURE_LOGIN to the name of the account")),
            (_, None, None) => match self.identity(others)? {
                Some(identity) => Ok(Credential::Identity(Box::new(identity))),
                None => Ok(Credential::Person(self.person()?)),
            },
        }
    }

    fn check_trust(
        &self,
        secret: Name,
        secret_source: Source,
        others: &[(Name, Option<&Setting<String>>)],
    ) -> Result<(), Failure> {
        if !secret_source.is_trusted() {
            return Ok(());
        }
        let thing = match secret {
            Name::Login => "login",
            Name::Password => "password",
            _ => "token",
        };
        check_goes_together(self, thing, self.source_name(secret, secret_source), others)
    }

    /// Returns a line for each setting: the name, the value, and the source.
    pub(crate) fn explained(&self) -> Vec<String> {
        let lines = Name::ALL.into_iter().map(|name| match self.texts.get(&name) {
            Some(setting) => {
                let value = match name {
                    Name::Token | Name::Password => "(not shown)".to_owned(),
                    Name::Url => shown_url(&setting.value),
                    _ => setting.value.clone(),
                };
                format!("{:<18} {value}  from {}", name.variable(), self.source_name(name, setting.source))
            }
            None => format!("{:<18} not set", name.variable()),
        });
        lines.collect()
    }
}

/// Checks that a credential goes to no address, and is trusted to no CA, named by a file of the project.
fn check_goes_together(
    settings: &Settings,
    thing: &str,
    source: &str,
    others: &[(Name, Option<&Setting<String>>)],
) -> Result<(), Failure> {
    for (name, setting) in others {
        let Some(setting) = setting.filter(|s| !s.source.is_trusted()) else { continue };
        let what = if *name == Name::Ca { "the CA to trust" } else { "the address of the edge" };
        let message = format!(
            "The {thing} comes from {source}, but {what} from {}, which a pull request could have written; \
             the {thing} was not sent.",
            settings.source_name(*name, setting.source),
        );
        let hint = format!(
            "set {} in the environment or give {}, if {} is right",
            name.variable(),
            name.flag(),
            if *name == Name::Url { shown_url(&setting.value) } else { setting.value.clone() },
        );
        return Err(Failure::new(Code::UntrustedSource, message).hint(hint));
    }
    Ok(())
}

/// Returns the folder of this program below the folder for the state of the user's programs, according to the XDG
/// specification.
fn state_folder(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    // A relative path is to be ignored.
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("devanture"))
}

fn read_secret(text: &str, source: &str, thing: &str) -> Result<Token, Failure> {
    let text = text.trim();
    // The characters of a header value (RFC 6750 §2.1 allows even fewer); the text itself is never repeated.
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Token(text.to_owned()))
    } else {
        Err(Failure::new(Code::Usage, format!("{source}: the {thing} holds characters that no {thing} has.")))
    }
}

#[cfg(test)]
mod tests;
