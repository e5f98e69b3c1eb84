//! Guesses of accounts and logins.
