//! Texts: numbers and times for display, and untrusted texts made safe for display.

mod counted;
mod date;
mod expiry;
pub mod html_text;
pub mod plain_text;
mod shown;
mod text_form;
pub mod toml_text;

pub use counted::{byte_text, counted, time_in_words};
pub use date::{date_time, rfc3339};
pub use expiry::{BadExpiry, Expiry};
pub(crate) use shown::shown;
pub(crate) use text_form::text_form;
