//! Uploads that try to use up memory or disk.
