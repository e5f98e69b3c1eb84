//! Prefixes of an edge's credentials, by which a leaked credential is recognised.

/// A token.
pub const TOKEN_PREFIX: &str = "dvt";
/// The access token of a login.
pub const ACCESS_TOKEN_PREFIX: &str = "dva";
/// The refresh token of a login.
pub const REFRESH_TOKEN_PREFIX: &str = "dvr";
/// A session of the console.
pub const SESSION_PREFIX: &str = "dvs";
/// An invitation.
pub const INVITATION_PREFIX: &str = "dvi";
/// All prefixes; an underscore follows each.
pub const CREDENTIAL_PREFIXES: [&str; 5] =
    [TOKEN_PREFIX, ACCESS_TOKEN_PREFIX, REFRESH_TOKEN_PREFIX, SESSION_PREFIX, INVITATION_PREFIX];

/// Returns true if the text has the form of an edge's credential, of this edge or any other.
#[must_use]
pub fn is_credential(text: &str) -> bool {
    CREDENTIAL_PREFIXES.iter().any(|prefix| text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_known_by_its_beginning() {
        for text in ["dvt_01_23", "dva_1", "dvr_1", "dvs_1", "dvi_1"] {
            assert!(is_credential(text), "{text}");
        }
        for text in ["", "dvt", "dvtx_1", "dvx_1", " dvt_1", "DVT_1"] {
            assert!(!is_credential(text), "{text}");
        }
    }
}
