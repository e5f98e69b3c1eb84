//! Clients that ask for much and read nothing.
