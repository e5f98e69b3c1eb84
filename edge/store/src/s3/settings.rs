//! The settings of the bucket that holds the files of a cluster.

use std::sync::Arc;

use devanture_config::api::Secret;
use rustls::ClientConfig;

use super::{Address, Bucket, Error, Variables, Waits};

/// Variables that name an endpoint. A setting replaces all of them.
const ENDPOINT_NAMES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
/// Variables that name a region.
const REGION_NAMES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// The settings of a bucket in `edge.toml`. Credentials are not included: they come from the environment or the
/// machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// The name of the bucket.
    pub bucket: String,
    /// The region; by default the region of the environment.
    pub region: Option<String>,
    /// The URL of the store; by default the endpoint of the environment, else Amazon S3.
    pub endpoint: Option<String>,
    /// The common prefix of all paths; may be empty.
    pub prefix: String,
}

impl BucketSettings {
    /// Merges these settings into the variables of the environment, and replaces variables of the same meaning.
    fn over(&self, variables: &Variables) -> Variables {
        let mut merged = variables.clone();
        let settings = [(&self.endpoint, &ENDPOINT_NAMES[..]), (&self.region, &REGION_NAMES[..])];
        for (value, names) in settings {
            let (Some(value), Some(name)) = (value, names.first()) else { continue };
            merged.retain(|name, _| !names.contains(&name.as_str()));
            merged.insert((*name).to_owned(), Secret::new(value));
        }
        merged
    }

    /// Prepares access to the bucket. Sends no request: an edge starts without the bucket.
    ///
    /// # Errors
    /// [`Error::Settings`] for invalid settings and variables, and for plain HTTP to a different machine.
    pub fn open(&self, variables: &Variables, tls: Arc<ClientConfig>, waits: Waits) -> Result<Bucket, Error> {
        let address = format!("s3://{}/{}", self.bucket, self.prefix);
        let address: Address = address.parse().map_err(|reason| Error::Settings { reason })?;
        Bucket::with_waits(&address, &self.over(variables), tls, waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_replaces_every_variable_of_its_meaning() {
        let pairs =
            [("AWS_ENDPOINT", "https://one.example"), ("AWS_DEFAULT_REGION", "one"), ("AWS_ACCESS_KEY_ID", "id")];
        let variables = pairs.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        let shown = |settings: &BucketSettings| -> Vec<(String, String)> {
            let merged = settings.over(&variables).into_iter();
            merged.map(|(name, value)| (name, value.expose().to_owned())).collect()
        };
        let settings = BucketSettings { bucket: "www".to_owned(), ..BucketSettings::default() };
        assert_eq!(settings.over(&variables), variables);
        let settings = BucketSettings {
            region: Some("two".to_owned()),
            endpoint: Some("https://two.example".to_owned()),
            ..settings
        };
        let expected =
            [("AWS_ACCESS_KEY_ID", "id"), ("AWS_ENDPOINT_URL_S3", "https://two.example"), ("AWS_REGION", "two")];
        assert_eq!(shown(&settings), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
