//! What a backend learns from a request, and what its answer can do.
