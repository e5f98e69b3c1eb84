//! Reports of failed certificates, at most once a day per name.

use std::collections::HashMap;

use devanture_config::AppName;

/// Interval between two reports of a name, in milliseconds.
const AGAIN_MS: u64 = 24 * 3_600_000;
/// Remembered names; beyond, all are forgotten.
const NAMES_MAX: usize = 100_000;

/// Failure to obtain or renew a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateTrouble {
    /// App of the name.
    pub app: AppName,
    /// Name.
    pub name: String,
    /// Reason.
    pub reason: String,
    /// End of the present certificate, in milliseconds since 1970 UTC.
    pub expires_ms: Option<u64>,
}

/// Receives reports; must not block.
pub type OnTrouble = Box<dyn Fn(CertificateTrouble) + Send + Sync>;

/// Last report of each name.
#[derive(Debug, Default)]
pub(super) struct Reported(HashMap<String, u64>);

impl Reported {
    /// Returns true if the name was not reported for a day, and records the report.
    pub(super) fn is_new(&mut self, name: &str, now_ms: u64) -> bool {
        if self.0.get(name).is_some_and(|reported_ms| now_ms.abs_diff(*reported_ms) < AGAIN_MS) {
            return false;
        }
        if self.0.len() >= NAMES_MAX {
            self.0.clear();
        }
        self.0.insert(name.to_owned(), now_ms);
        true
    }

    /// Forgets a name with a new certificate.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_reported_once_a_day_until_it_has_its_certificate() {
        let mut reported = Reported::default();
        assert!(reported.is_new("a.example", 0) && reported.is_new("b.example", 0));
        assert!(!reported.is_new("a.example", AGAIN_MS - 1) && reported.is_new("a.example", AGAIN_MS));
        reported.forget("b.example");
        assert!(reported.is_new("b.example", 1));
    }
}
