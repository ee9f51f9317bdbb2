//! What is wrong with a bucket, in words for its operator.

use reqwest::StatusCode;

use super::error::S3Error;
use crate::config::S3;
use crate::time::now_datetime;

const ENDPOINT: &str = "PDS_BLOBSTORE_S3_ENDPOINT";
const REGION: &str = "PDS_BLOBSTORE_S3_REGION";
const PATH_STYLE: &str = "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE";

impl S3Error {
    /// What is wrong, and which variable most likely mends it.
    #[must_use]
    pub fn explain(&self, config: &S3) -> String {
        let S3 { bucket, endpoint, region, access_key_id, .. } = config;
        match self {
            Self::Timeout { limit } => {
                let limit = limit.as_millis();
                format!(
                    "{endpoint} gave no answer within {limit} ms: it is slow, or something on the way drops what is sent"
                )
            }
            Self::Unreachable(cause) => {
                let cause = innermost(cause);
                let by_name = if config.path_style {
                    String::new()
                } else {
                    format!(
                        ", where the bucket is asked by a name of its own, {bucket}.{}, unless {PATH_STYLE}=true",
                        host(config)
                    )
                };
                format!("{endpoint} cannot be reached ({cause}): look at {ENDPOINT}{by_name}")
            }
            Self::Exchange(cause) => format!("the connection to {endpoint} broke off ({})", innermost(cause)),
            Self::Answer(expected) => {
                format!(
                    "what answers at {endpoint} is no S3 ({expected}): look at {ENDPOINT}, its path included, and \
                     {PATH_STYLE}"
                )
            }
            Self::Url(_) => format!("{ENDPOINT} is no URL that can be asked"),
            Self::Busy => "too many large uploads are under way".to_owned(),
            Self::Refused { status, code, message, region: elsewhere } => match (code.as_str(), elsewhere) {
                ("NoSuchBucket", _) => {
                    let style = if config.path_style { String::new() } else { format!(", and at {PATH_STYLE}") };
                    format!(
                        "there is no bucket {bucket} at {endpoint}: look at PDS_BLOBSTORE_S3_BUCKET and {ENDPOINT}{style}"
                    )
                }
                ("InvalidAccessKeyId" | "NotSignedUp" | "XAdminUserNotFound", _) => {
                    format!("the server does not know the key {access_key_id}: look at PDS_BLOBSTORE_S3_ACCESS_KEY_ID")
                }
                ("SignatureDoesNotMatch", _) => format!(
                    "the signature is not right: PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY is not the secret of {access_key_id}, \
                     or a proxy on the way changes requests"
                ),
                ("RequestTimeTooSkewed" | "RequestExpired", _) => {
                    format!("this machine's clock is wrong: it says {}", now_datetime().as_str())
                }
                ("ExpiredToken" | "InvalidToken", _) => {
                    format!("the keys were lent for a while which is over: look at AWS_SESSION_TOKEN ({message})")
                }
                (_, Some(elsewhere)) if elsewhere != region => {
                    format!("the bucket is in another region: set {REGION}={elsewhere}, it is {region} now")
                }
                (
                    "AuthorizationHeaderMalformed" | "InvalidRegionName" | "PermanentRedirect" | "TemporaryRedirect",
                    _,
                ) => {
                    format!("the bucket is in another place than {region}: look at {REGION} and {ENDPOINT} ({message})")
                }
                ("NotImplemented" | "MethodNotAllowed", _) => {
                    format!("the server at {endpoint} does not know this call of S3's ({message})")
                }
                _ => refusal(config, *status, code, message),
            },
        }
    }
}

fn refusal(config: &S3, status: StatusCode, code: &str, message: &str) -> String {
    let S3 { endpoint, access_key_id, .. } = config;
    match status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => format!(
            "the key {access_key_id} may not do this: it needs to read, write, delete and list what is in the bucket \
             ({code} {message})"
        ),
        StatusCode::NOT_FOUND if code.is_empty() => {
            format!("what answers at {endpoint} is no S3: look at {ENDPOINT}, its path included, and {PATH_STYLE}")
        }
        _ if status.is_redirection() => {
            format!("{endpoint} sends elsewhere (status {status}): look at {ENDPOINT} and {REGION}")
        }
        _ if status.is_server_error() => format!("the server at {endpoint} failed: {status} {code} {message}"),
        _ => format!("the server at {endpoint} refused: {status} {code} {message}"),
    }
}

fn host(config: &S3) -> &str {
    config.endpoint.host_str().unwrap_or_default()
}

/// What the system said.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
