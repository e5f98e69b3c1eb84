//! Names and texts that try to control the terminal.
