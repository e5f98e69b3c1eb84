//! Tests of the work on data.
