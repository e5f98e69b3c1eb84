//! The cost of bringing a version from a shared store to the disk of a node.

/// The cost of bringing a version to the disk of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Objects read from the shared store.
    pub objects: u64,
    /// Bytes of the objects.
    pub bytes: u64,
}

impl FetchReport {
    /// Adds an object.
    pub(super) const fn add(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Adds a further cost.
    pub(super) const fn merge(&mut self, more: Self) {
        self.objects = self.objects.saturating_add(more.objects);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}
