//! Manifests that contradict themselves or are too many at once.
