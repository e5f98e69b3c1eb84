//! Logins of people at the provider of the edge: their place, in the absence of other credentials.

use std::path::PathBuf;

use devanture_config::problem::Code;
use devanture_config::{AppName, PlaceName};

use super::{Credential, EdgeAccess, Settings, Source};
use crate::output::exit::Failure;

/// The remedy for a missing credential.
const NO_TOKEN: &str = "set DEVANTURE_TOKEN; `devanture-edge token create` makes one. Or set DEVANTURE_LOGIN to the name of \
     an account and DEVANTURE_PASSWORD to its password; `devanture-edge account create` makes one. In CI, an identity \
     token does without either: GitHub Actions needs `permissions: id-token: write`, others set DEVANTURE_ID_TOKEN. \
     People log in with `devanture login --oidc`, at each edge that has a provider";

/// The app and environment of a stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PersonAccess {
    /// The app, if named.
    pub(crate) app: Option<AppName>,
    /// The environment, if named.
    pub(crate) environment: Option<PlaceName>,
    /// The folder of stored logins.
    pub(crate) state_folder: PathBuf,
}

/// The failure of a command without a credential.
pub(crate) fn no_token() -> Failure {
    Failure::new(Code::Unauthenticated, "A token is needed, and there is none.").hint(NO_TOKEN)
}

impl Settings {
    /// Returns the place of a person's stored login.
    ///
    /// # Errors
    /// `unauthenticated` without a state folder.
    pub(super) fn person(&self) -> Result<PersonAccess, Failure> {
        let environment = self.environment()?;
        Ok(PersonAccess {
            app: self.app().ok().map(|app| app.value),
            environment: Some(environment.value).filter(|_| environment.source != Source::Default),
            state_folder: self.state_folder.clone().ok_or_else(no_token)?,
        })
    }

    /// Returns the edge to which a person logs in.
    ///
    /// # Errors
    /// `untrusted_source` if a file of the project names the edge, or a CA for the edge: a foreign edge could pass the
    /// identity token on to the right one; the errors of [`Settings::edge_access`].
    pub(crate) fn login_access(&self) -> Result<EdgeAccess, Failure> {
        self.access_with(|others| {
            super::check_goes_together(self, "login", "the provider of the edge", others)?;
            Ok(Credential::Person(self.person()?))
        })
    }
}
