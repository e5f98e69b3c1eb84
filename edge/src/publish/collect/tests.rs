//! Tests of collections that need no network.
