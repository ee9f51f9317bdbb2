//! What nobody else may know: the key of sessions, the administrator's password, the key that changes identities.
//!
//! An operator sets all three. A server whose name is `localhost` makes those that are missing, once, and keeps them in
//! [`SECRETS_FILE`] of its data directory, so that it starts with no configuration at all. It never makes one beside
//! accounts that already exist: their sessions and identities hang on the ones they were made with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use shared::api::Secret;
use shared::crypto::{Curve, SigningKey};
use url::Url;

use super::variables::{Variables, http_url};
use super::{Purpose, aws};
use crate::files::{make_directory, sync_directory};
use crate::random;

/// The file of the secrets that the server made itself: a JSON object of variables.
pub const SECRETS_FILE: &str = "headwater-secrets.json";

const JWT: &str = "PDS_JWT_SECRET";
const ADMIN: &str = "PDS_ADMIN_PASSWORD";
const ROTATION: &str = "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX";
const ROTATION_KMS: &str = "PDS_PLC_ROTATION_KEY_KMS_KEY_ID";

/// The server's secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// `PDS_JWT_SECRET`: the key of session tokens, HS256, its bytes as they are. Required, but see the module.
    pub jwt: Secret,
    /// `PDS_ADMIN_PASSWORD`: the password of `admin` in Basic authentication. Required, but see the module.
    pub admin_password: Secret,
    /// The key that signs did:plc operations. Required, but see the module.
    pub plc_rotation_key: RotationKeyConfig,
}

/// Where the key that signs did:plc operations is.
#[derive(Clone, Debug)]
pub enum RotationKeyConfig {
    /// `PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX`: 32 bytes in hex.
    Held(SigningKey),
    /// `PDS_PLC_ROTATION_KEY_KMS_KEY_ID`: in AWS KMS.
    Kms(KmsConfig),
}

/// A key in AWS KMS, and the right to use it.
#[derive(Clone, Debug)]
pub struct KmsConfig {
    /// `PDS_PLC_ROTATION_KEY_KMS_KEY_ID`: the key's id, ARN, or alias.
    pub key_id: String,
    /// `AWS_REGION` or `AWS_DEFAULT_REGION`; without them, the ARN's.
    pub region: String,
    /// `AWS_ENDPOINT_URL_KMS` or `AWS_ENDPOINT_URL`; without them, the region's.
    pub endpoint: Url,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Secret,
    /// `AWS_SESSION_TOKEN`, of a right that is lent.
    pub session_token: Option<Secret>,
}

impl KmsConfig {
    fn read(variables: &mut Variables, key_id: String) -> Option<Self> {
        let [own, every] = ["AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"].map(|name| variables.text(name));
        // `arn:aws:kms:REGION:ACCOUNT:key/ID`.
        let of_arn = || key_id.strip_prefix("arn:")?.split(':').nth(2).map(str::to_owned);
        let region = aws::region(variables).or_else(of_arn).filter(|region| aws::is_region(region));
        if region.is_none() {
            variables.problem(format!("{ROTATION_KMS} is set, so AWS_REGION must be, too"));
        }
        let endpoint = own.or(every).or_else(|| Some(format!("https://kms.{}.amazonaws.com/", region.as_deref()?)));
        let url = endpoint.as_deref().and_then(http_url);
        if let (None, Some(endpoint)) = (&url, endpoint) {
            variables.problem(format!("KMS is at \"{endpoint}\", which is not a URL with http or https"));
        }
        let [access_key_id, secret_access_key, session_token] = aws::keys(variables);
        if access_key_id.is_none() || secret_access_key.is_none() {
            variables
                .problem(format!("{ROTATION_KMS} is set, so AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be, too"));
        }
        Some(Self {
            key_id,
            region: region?,
            endpoint: url?,
            access_key_id: access_key_id?,
            secret_access_key: Secret::new(secret_access_key?),
            session_token: session_token.map(Secret::new),
        })
    }
}

impl Secrets {
    /// Reads the secrets; `directory` is where missing ones are kept, `None` where none may be missing. A `purpose` that
    /// is only to look makes them up and keeps nothing.
    pub(super) fn read(variables: &mut Variables, directory: Option<&Path>, purpose: Purpose) -> Option<Self> {
        let in_kms = variables.text(ROTATION_KMS);
        let mut given = [JWT, ADMIN, ROTATION].map(|name| (name, variables.text(name)));
        if in_kms.is_some() && variables.is_set(ROTATION) {
            variables.problem(format!("{ROTATION_KMS} and {ROTATION} are both set"));
            return None;
        }
        // Where the rotation key is elsewhere, none is missing here.
        let given = if in_kms.is_some() { &mut given[..2] } else { &mut given[..] };
        if let Some(directory) = directory
            && given.iter().any(|(_, value)| value.is_none())
        {
            if purpose == Purpose::Start && !variables.problems.is_empty() {
                // A start that is refused anyway makes no file.
                return None;
            }
            match Made::open_or_make(directory, given, purpose) {
                Ok(made) => made.fill(directory, given, variables),
                Err(error) => variables.problem(error),
            }
        }
        for (name, value) in given.iter() {
            if value.is_none() {
                variables.problem(format!("{name} is not set"));
            }
        }
        let mut taken =
            |name: &str| given.iter_mut().find(|(other, _)| *other == name).and_then(|(_, value)| value.take());
        let (jwt, admin_password, rotation) = (taken(JWT), taken(ADMIN), taken(ROTATION));
        let held = rotation.and_then(|hex| {
            let key = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
            let key = key.and_then(|bytes| SigningKey::from_bytes(Curve::K256, &bytes).ok());
            if key.is_none() {
                variables.problem(format!("{ROTATION} is not a k256 private key of 64 hex characters"));
            }
            key.map(RotationKeyConfig::Held)
        });
        let plc_rotation_key = match in_kms {
            Some(key_id) => KmsConfig::read(variables, key_id).map(RotationKeyConfig::Kms),
            None => held,
        };
        Some(Self {
            jwt: Secret::new(jwt?),
            admin_password: Secret::new(admin_password?),
            plc_rotation_key: plc_rotation_key?,
        })
    }
}

/// What [`SECRETS_FILE`] holds.
struct Made {
    secrets: BTreeMap<String, String>,
    /// Whether the file is there.
    kept: bool,
}

impl Made {
    /// Reads the file; if there is none, makes it with what `given` lacks. What can go wrong is told as a text.
    fn open_or_make(directory: &Path, given: &[(&str, Option<String>)], purpose: Purpose) -> Result<Self, String> {
        let path = directory.join(SECRETS_FILE);
        let failed = |error: io::Error| format!("{} cannot be used: {error}", path.display());
        if let Some(made) = Self::open(&path)? {
            return Ok(made);
        }
        if directory.join("account.sqlite").exists() {
            // The names that are missing are reported by the caller.
            return Err(format!("{} holds accounts, so no secret is made for it", directory.display()));
        }
        let mut made = BTreeMap::new();
        for (name, _) in given.iter().filter(|(_, value)| value.is_none()) {
            // The length that the reference's set-up gives each.
            let hex = if *name == ROTATION {
                HEXLOWER.encode(&random::bytes::<32>())
            } else {
                HEXLOWER.encode(&random::bytes::<16>())
            };
            made.insert((*name).to_owned(), hex);
        }
        if purpose == Purpose::Look {
            return Ok(Self { secrets: made, kept: false });
        }
        let text = serde_json::to_string_pretty(&made).map_err(|error| failed(error.into()))?;
        match write_new(directory, &path, text.as_bytes()) {
            Ok(()) => Ok(Self { secrets: made, kept: true }),
            // Another server was faster: its secrets are this directory's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::open(&path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn open(path: &Path) -> Result<Option<Self>, String> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        let made = serde_json::from_slice(&text);
        made.map(|secrets| Some(Self { secrets, kept: true }))
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }

    fn fill(mut self, directory: &Path, given: &mut [(&'static str, Option<String>)], variables: &mut Variables) {
        let mut filled = Vec::new();
        for (name, value) in given.iter_mut().filter(|(_, value)| value.is_none()) {
            if let Some(made) = self.secrets.remove(*name) {
                *value = Some(made);
                filled.push(*name);
            }
        }
        let path = directory.join(SECRETS_FILE);
        let (path, filled) = (path.display(), filled.join(", "));
        variables.warn(if self.kept {
            format!("taken from {path}, which this server made: {filled}")
        } else {
            format!("a start makes {path} with: {filled}")
        });
    }
}

/// Writes a file that only its owner reads, whole or not at all, and never over another one.
fn write_new(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    make_directory(directory)?;
    let unfinished = directory.join(format!("{SECRETS_FILE}.{}", process::id()));
    // A process of the same id may have died here.
    let _absent = fs::remove_file(&unfinished);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&unfinished, path));
    fs::remove_file(&unfinished)?;
    linked?;
    sync_directory(directory)
}
