//! Retention: `[retention]` of `edge.toml`.

/// Retention times of versions, and restoration times of deleted items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Seconds between two automatic collections; 0 is never.
    pub collect_every_s: u64,
    /// Days after which an unreferenced version may be collected; 0 ignores age.
    pub keep_days: u64,
    /// Number of newest versions of an app that are never collected; 0 ignores the number.
    pub keep_versions: u64,
    /// Hours for which a deleted app, environment or version is restorable.
    pub undelete_hours: u64,
    /// Hours for which collected files stay on the disk, and return if a record refers to a file again.
    pub collected_hours: u64,
    /// Days within which every stored file and the catalog are read and checked once; 0 is never.
    pub scrub_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            collect_every_s: 3_600,
            keep_days: 30,
            keep_versions: 20,
            undelete_hours: 168,
            collected_hours: 24,
            scrub_days: 30,
        }
    }
}

impl Retention {
    /// Returns true if versions are ever collected automatically.
    #[must_use]
    pub const fn is_bounded(&self) -> bool {
        self.keep_days > 0 || self.keep_versions > 0
    }

    /// Returns true if a version is beyond retention: not among the newest (`rank` versions are newer), and not young
    /// (stored, or last live, `age_ms` ago). A bound of 0 leaves the decision to the other bound; with both at 0, every
    /// version stays.
    #[must_use]
    pub fn is_beyond(&self, rank: u64, age_ms: u64) -> bool {
        let is_beyond_number = self.keep_versions == 0 || rank >= self.keep_versions;
        let is_beyond_age = self.keep_days == 0 || age_ms > self.keep_days.saturating_mul(86_400_000);
        self.is_bounded() && is_beyond_number && is_beyond_age
    }

    /// Returns the time, in seconds since 1970, before which a file must have been collected to be removed at `now_s`.
    #[must_use]
    pub const fn collected_before_s(&self, now_s: u64) -> u64 {
        match self.collected_hours {
            // The clock has a resolution of seconds: files of this very collection are included.
            0 => u64::MAX,
            hours => now_s.saturating_sub(hours.saturating_mul(3_600)),
        }
    }

    /// Returns the milliseconds for which a deleted app, environment or version is restorable.
    #[must_use]
    pub const fn undelete_ms(&self) -> u64 {
        self.undelete_hours.saturating_mul(3_600_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_goes_when_it_is_beyond_both_bounds() {
        const DAY: u64 = 86_400_000;
        let beyond = |keep_versions, keep_days, rank, days: u64| {
            let retention = Retention { keep_versions, keep_days, ..Retention::default() };
            retention.is_beyond(rank, days * DAY + 1)
        };
        assert!(beyond(20, 30, 20, 30));
        assert!(!beyond(20, 30, 19, 30), "among the newest");
        assert!(!beyond(20, 30, 20, 29), "too young");
        assert!(beyond(0, 30, 0, 30) && !beyond(0, 30, 50, 29), "age alone");
        assert!(beyond(3, 0, 3, 0) && !beyond(3, 0, 2, 400), "number alone");
        assert!(!beyond(0, 0, 1_000, 4_000), "neither");
    }
}
