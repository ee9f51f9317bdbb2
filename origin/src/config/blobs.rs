//! Where blobs are kept: in files, or in a bucket that is spoken to as Amazon's S3 is.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use shared::api::Secret;
use url::{Host, Url};

use super::aws;
use super::variables::{Variables, http_url};

const BUCKET: &str = "PDS_BLOBSTORE_S3_BUCKET";
const REGION: &str = "PDS_BLOBSTORE_S3_REGION";
const ENDPOINT: &str = "PDS_BLOBSTORE_S3_ENDPOINT";
const PATH_STYLE: &str = "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE";
const KEY_ID: &str = "PDS_BLOBSTORE_S3_ACCESS_KEY_ID";
const KEY: &str = "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY";
const UPLOAD_TIMEOUT: &str = "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS";
const REQUEST_TIMEOUT: &str = "PDS_BLOBSTORE_S3_REQUEST_TIMEOUT_MS";
const DISK: &str = "PDS_BLOBSTORE_DISK_LOCATION";

/// What servers that are not Amazon's take for their region, whatever they call it.
const ANY_REGION: &str = "us-east-1";
/// The longest name of a bucket that can be a label of a host's name.
const LABEL_MAX: usize = 63;

/// Where blobs are kept. Exactly one of the two has to be set.
#[derive(Clone, Debug)]
pub enum Blobs {
    /// In files.
    Disk {
        /// `PDS_BLOBSTORE_DISK_LOCATION`. Required; for `localhost` the default is `blocks` in the data directory.
        location: PathBuf,
        /// `PDS_BLOBSTORE_DISK_TMP_LOCATION`: where uploads wait for a record that refers to them. Default: `tempt`
        /// (sic) in the location.
        temporary: PathBuf,
    },
    /// In a bucket.
    S3(S3),
}

/// A bucket, of Amazon's S3 or of whatever speaks as it does.
#[derive(Clone, Debug)]
pub struct S3 {
    /// `PDS_BLOBSTORE_S3_BUCKET`.
    pub bucket: String,
    /// `PDS_BLOBSTORE_S3_REGION`, else `AWS_REGION`, else `AWS_DEFAULT_REGION`. Required, but for an endpoint that is not
    /// Amazon's, where the default is `us-east-1`.
    pub region: String,
    /// `PDS_BLOBSTORE_S3_ENDPOINT`: a URL, which may have a path. Default: Amazon's of the region.
    pub endpoint: Url,
    /// `PDS_BLOBSTORE_S3_FORCE_PATH_STYLE`: whether the bucket's name is in the path and not in the host's name. Default:
    /// false, but for an endpoint that is an address, and a bucket whose name cannot be a host's.
    pub path_style: bool,
    /// `PDS_BLOBSTORE_S3_ACCESS_KEY_ID`; without it `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY`; without it `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, with the other two of that kind: of a key that was lent for a while. Default: none.
    pub session_token: Option<Secret>,
    /// `PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS`, milliseconds: how long an upload may wait for the bucket, in all. Default: 20
    /// seconds.
    pub upload_timeout: Duration,
    /// `PDS_BLOBSTORE_S3_REQUEST_TIMEOUT_MS`, milliseconds: how long anything else that is asked of it may take, and how
    /// long it may be silent while a blob is read. Default: the upload's, but 6 seconds at least and 15 at most.
    pub request_timeout: Duration,
}

/// Where they are, without any secret.
impl fmt::Display for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { location, .. } => location.display().fmt(f),
            Self::S3(S3 { bucket, endpoint, .. }) => write!(f, "the bucket {bucket} at {endpoint}"),
        }
    }
}

impl Blobs {
    /// Reads where blobs are kept; `directory` is the data directory where there is a default.
    pub(super) fn read(variables: &mut Variables, directory: Option<&PathBuf>) -> Option<Self> {
        let location = variables.path(DISK);
        let temporary = variables.path("PDS_BLOBSTORE_DISK_TMP_LOCATION");
        let bucket = variables.text(BUCKET);
        if let (Some(bucket), None) = (&bucket, &location) {
            return S3::read(variables, bucket.clone()).map(Self::S3);
        }
        for name in [REGION, ENDPOINT, PATH_STYLE, KEY_ID, KEY, UPLOAD_TIMEOUT, REQUEST_TIMEOUT] {
            if variables.text(name).is_some() && bucket.is_none() {
                variables.warn(format!("{name} has no effect without {BUCKET}"));
            }
        }
        if bucket.is_some() {
            variables.problem(format!("{BUCKET} and {DISK} are both set"));
            return None;
        }
        let Some(location) = location.or_else(|| directory.map(|directory| directory.join("blocks"))) else {
            variables.problem(format!("{DISK} is not set, and neither is {BUCKET}"));
            return None;
        };
        let temporary = temporary.unwrap_or_else(|| location.join("tempt"));
        Some(Self::Disk { location, temporary })
    }
}

impl S3 {
    fn read(variables: &mut Variables, bucket: String) -> Option<Self> {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_name = bucket.bytes().all(character);
        if !is_name {
            variables.problem(format!("{BUCKET} is \"{bucket}\", not the name of a bucket alone"));
        }
        let elsewhere = variables.text(ENDPOINT);
        let region = variables.text(REGION).or_else(|| aws::region(variables));
        let region = region.or_else(|| elsewhere.as_ref().map(|_| ANY_REGION.to_owned()));
        match &region {
            None => variables.problem(format!("{BUCKET} is set, so {REGION} must be, too")),
            Some(region) if !aws::is_region(region) => {
                variables.problem(format!("{REGION} is \"{region}\", not a region"));
                return None;
            }
            Some(_) => {}
        }
        let endpoint = match elsewhere {
            Some(text) => {
                let endpoint = http_url(&text).filter(is_bare);
                if endpoint.is_none() {
                    variables.problem(format!("{ENDPOINT} is \"{text}\", not a URL with http or https, host and path"));
                }
                endpoint
            }
            None => region.as_ref().and_then(|region| http_url(&format!("https://s3.{region}.amazonaws.com"))),
        };
        let forced = variables.flag(PATH_STYLE).unwrap_or(false);
        let (own_id, own_key) = (variables.text(KEY_ID), variables.text(KEY));
        let [lent_id, lent_key, token] = aws::keys(variables);
        let half = own_id.is_some() != own_key.is_some();
        let (access_key_id, secret_access_key, session_token) =
            if own_id.is_some() || own_key.is_some() { (own_id, own_key, None) } else { (lent_id, lent_key, token) };
        if half {
            variables.problem(format!("only one of {KEY_ID} and {KEY} is set"));
        } else if access_key_id.is_none() || secret_access_key.is_none() {
            variables.problem(format!(
                "{BUCKET} is set, so {KEY_ID} and {KEY} must be, too, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ));
        }
        let mut time = |name, default| variables.number(name, 1..=u64::MAX).map_or(default, Duration::from_millis);
        let upload_timeout = time(UPLOAD_TIMEOUT, Duration::from_secs(20));
        let usual = upload_timeout.clamp(Duration::from_secs(6), Duration::from_secs(15));
        let request_timeout = time(REQUEST_TIMEOUT, usual);
        let (endpoint, region) = (endpoint?, region?);
        let by_name = matches!(endpoint.host(), Some(Host::Domain(_))) && is_label(&bucket);
        is_name.then_some(())?;
        Some(Self {
            path_style: forced || !by_name,
            bucket,
            region,
            endpoint,
            access_key_id: access_key_id?,
            secret_access_key: Secret::new(secret_access_key?),
            session_token: session_token.map(Secret::new),
            upload_timeout,
            request_timeout,
        })
    }
}

/// Whether a URL is nothing but scheme, host, port and path.
fn is_bare(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
}

/// Whether the name of a bucket can be a label of a host's name, for which there is a certificate.
fn is_label(bucket: &str) -> bool {
    let character = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    bucket.len() <= LABEL_MAX && bucket.bytes().all(character) && !bucket.starts_with('-') && !bucket.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn read(more: &[(&str, &str)]) -> Result<S3, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let fixed = [("PDS_DATA_DIRECTORY", directory.path().to_str().unwrap()), (BUCKET, "blobs")];
        match Config::from_variables(fixed.iter().chain(more).copied())?.storage.blobs {
            Blobs::S3(s3) => Ok(s3),
            other => panic!("{other:?}"),
        }
    }

    const KEYS: [(&str, &str); 2] = [(KEY_ID, "id"), (KEY, "secret")];

    #[test]
    fn the_references_variables_name_a_bucket() {
        let amazon = read(&[KEYS[0], KEYS[1], (REGION, "eu-west-1")]).unwrap();
        assert_eq!((amazon.endpoint.as_str(), amazon.path_style), ("https://s3.eu-west-1.amazonaws.com/", false));
        assert_eq!((amazon.access_key_id.as_str(), amazon.secret_access_key.expose()), ("id", "secret"));
        assert_eq!((amazon.upload_timeout, amazon.request_timeout), (Duration::from_secs(20), Duration::from_secs(15)));

        let prefixed = [
            (ENDPOINT, "https://abc.example.com/storage/v1/s3"),
            (REGION, "auto"),
            (PATH_STYLE, "true"),
            (UPLOAD_TIMEOUT, "3000"),
            (KEY_ID, "id"),
            (KEY, "secret"),
        ];
        let prefixed = read(&prefixed).unwrap();
        assert_eq!((prefixed.endpoint.path(), prefixed.region.as_str()), ("/storage/v1/s3", "auto"));
        assert!(prefixed.path_style);
        assert_eq!(
            (prefixed.upload_timeout, prefixed.request_timeout),
            (Duration::from_secs(3), Duration::from_secs(6))
        );
    }

    #[test]
    fn a_bucket_is_in_the_path_where_it_cannot_be_in_the_hosts_name() {
        for (bucket, endpoint, path_style) in [
            ("blobs", "https://storage.googleapis.com", false),
            ("blobs", "http://127.0.0.1:9000", true),
            ("blobs.example.com", "https://storage.googleapis.com", true),
            ("Blobs", "https://storage.googleapis.com", true),
        ] {
            let s3 = read(&[KEYS[0], KEYS[1], (BUCKET, bucket), (ENDPOINT, endpoint)]).unwrap();
            assert_eq!((s3.path_style, s3.region.as_str()), (path_style, ANY_REGION), "{bucket} {endpoint}");
        }
    }

    #[test]
    fn without_keys_of_its_own_those_of_the_environment_are_used() {
        let lent = [
            ("AWS_ACCESS_KEY_ID", "lent"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_SESSION_TOKEN", "token"),
            ("AWS_REGION", "us-west-2"),
        ];
        let s3 = read(&lent).unwrap();
        assert_eq!((s3.access_key_id.as_str(), s3.region.as_str()), ("lent", "us-west-2"));
        assert_eq!(s3.session_token.unwrap().expose(), "token");
        let own = read(&[&lent[..], &KEYS[..], &[(REGION, "eu-west-1")][..]].concat()).unwrap();
        assert_eq!((own.access_key_id.as_str(), own.region.as_str()), ("id", "eu-west-1"));
        assert!(own.session_token.is_none());
    }

    #[test]
    fn what_names_no_bucket_is_refused() {
        for (variables, expected) in [
            (vec![(REGION, "eu-west-1")], "PDS_BLOBSTORE_S3_ACCESS_KEY_ID and"),
            (vec![(REGION, "eu-west-1"), KEYS[0]], "only one of"),
            (KEYS.to_vec(), "PDS_BLOBSTORE_S3_REGION must be"),
            (vec![KEYS[0], KEYS[1], (REGION, "a/b")], "not a region"),
            (vec![KEYS[0], KEYS[1], (ENDPOINT, "s3.example.com")], "not a URL"),
            (vec![KEYS[0], KEYS[1], (ENDPOINT, "https://s3.example.com?x=1")], "not a URL"),
            (vec![KEYS[0], KEYS[1], (REGION, "x"), (BUCKET, "a/b")], "not the name of a bucket"),
            (vec![KEYS[0], KEYS[1], (REGION, "x"), (UPLOAD_TIMEOUT, "0")], "must be at least 1"),
        ] {
            let text = read(&variables).unwrap_err().to_string();
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }
}
