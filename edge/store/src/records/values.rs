//! The values of records, as JSON.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{Error, Record};

/// Reads a record's value.
///
/// # Errors
/// [`Error::Store`] if the value does not have the type of its key.
pub fn read<T: DeserializeOwned>(key: &str, record: &Record) -> Result<T, Error> {
    serde_json::from_slice(&record.value)
        .map_err(|error| Error::Store(format!("the record {key} cannot be read: {error}")))
}

/// Writes a value.
///
/// # Errors
/// [`Error::Store`]; no type of this module can fail.
pub fn write<T: Serialize>(value: &T) -> Result<Arc<[u8]>, Error> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::Store(format!("a record cannot be written: {error}")))?;
    Ok(bytes.into())
}
