//! Repositories that try to run commands.
