//! The field that names the version of a response, separate from the field lists, which all versions share.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use super::Charge;
use devanture_http::SharedField;

/// The header that names the version of a response.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("devanture-version");

/// The field in all heads of one version.
pub struct VersionField {
    value: HeaderValue,
    /// For the engine; made at the first request.
    shared: OnceLock<Arc<SharedField>>,
    charge: Arc<Charge>,
}

impl VersionField {
    /// The field of a value. Later memory of the heads, at the first request of each, is charged to `charge`.
    pub(super) const fn new(value: HeaderValue, charge: Arc<Charge>) -> Self {
        Self { value, shared: OnceLock::new(), charge }
    }

    /// The value, for a map.
    #[must_use]
    pub const fn value(&self) -> &HeaderValue {
        &self.value
    }

    pub(super) fn charge(&self) -> &Charge {
        &self.charge
    }

    pub(super) fn shared(&self) -> &Arc<SharedField> {
        self.shared.get_or_init(|| {
            let field = SharedField::new(VERSION_HEADER.as_str(), self.value.as_bytes());
            self.charge.add(field.bytes() as u64);
            Arc::new(field)
        })
    }
}
