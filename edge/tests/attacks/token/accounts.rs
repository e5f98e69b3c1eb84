//! Guessing of accounts and logins.
