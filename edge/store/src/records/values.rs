//! The values of records, as JSON.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::catalog::{Error, Record};

/// A record's value, read.
///
/// # Errors
/// [`Error::Store`] where the value is not what its key promises.
pub fn read<T: DeserializeOwned>(key: &str, record: &Record) -> Result<T, Error> {
    serde_json::from_slice(&record.value)
        .map_err(|error| Error::Store(format!("the record {key} cannot be read: {error}")))
}

/// A value, written.
///
/// # Errors
/// [`Error::Store`]; none of the types of this room can fail.
pub fn write<T: Serialize>(value: &T) -> Result<Arc<[u8]>, Error> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::Store(format!("a record cannot be written: {error}")))?;
    Ok(bytes.into())
}
