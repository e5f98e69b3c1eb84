//! Floods of TLS handshakes beside connected visitors.
