//! A token of one environment against the others of its app.
