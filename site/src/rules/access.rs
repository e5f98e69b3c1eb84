//! Access to paths: HTTP's basic authentication (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blake3::{Hash, Hasher};
use devanture_config::heap::{HeapBytes, allocated};

use super::headers::User;
use crate::fields::trimmed;

/// Credentials for a path, as hashes of the client's bytes: the comparison takes constant time.
#[derive(Debug)]
pub struct Users(Vec<Hash>);

impl Users {
    /// Takes the names and passwords.
    #[must_use]
    pub fn new(users: &[User]) -> Self {
        Self(users.iter().map(|user| blake3::hash(format!("{}:{}", user.name, user.password).as_bytes())).collect())
    }

    /// Returns true without users: access is then open.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the credentials to a hash.
    pub(super) fn feed(&self, hasher: &mut Hasher) {
        hasher.update(&self.0.len().to_le_bytes());
        for user in &self.0 {
            hasher.update(user.as_bytes());
        }
    }

    /// Returns true if `sent` are the credentials of a user.
    #[must_use]
    pub fn hold(&self, sent: Option<&Sent>) -> bool {
        // Every user is compared: the time must not reveal the match.
        sent.is_some_and(|sent| self.0.iter().fold(false, |found, user| found | (*user == sent.0)))
    }
}

/// The credentials sent by a client, as a hash, computed once for all rules.
#[derive(Debug)]
pub struct Sent(Hash);

impl Sent {
    /// Parses `Authorization`; `None` for another scheme; the name of the scheme is case-insensitive (RFC 9110 §11.1).
    #[must_use]
    pub fn of(authorization: Option<&[u8]>) -> Option<Self> {
        let (scheme, sent) = trimmed(authorization?).split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        Some(Self(blake3::hash(&STANDARD.decode(trimmed(sent)).ok()?)))
    }
}

impl HeapBytes for Users {
    fn heap_bytes(&self) -> usize {
        allocated(self.0.capacity() * size_of::<Hash>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_known_user_with_the_password_is_let_in() {
        let user = |name: &str, password: &str| User { name: name.to_owned(), password: password.to_owned() };
        let users = Users::new(&[user("ann", "one"), user("bob", "t:wo")]);
        let sent = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (authorization, expected) in [
            (sent("ann:one"), true),
            (sent("bob:t:wo"), true),
            (sent("ann:one").replace("Basic", "bASIC"), true),
            (sent("ann:two"), false),
            (sent("ann"), false),
            (sent("").replace("Basic", "Bearer"), false),
            ("Basic".to_owned(), false),
            ("Basic !".to_owned(), false),
        ] {
            assert_eq!(users.hold(Sent::of(Some(authorization.as_bytes())).as_ref()), expected, "{authorization}");
        }
        assert!(!users.hold(None));
    }
}
