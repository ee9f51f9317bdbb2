//! `com.atproto.server.*`.

pub(super) mod account;
pub(super) mod app_password;
pub(super) mod email;
pub(super) mod invite;
pub(super) mod service_auth;
pub(super) mod session;

use sha2::{Digest as _, Sha256};
use shared::api::server::{Contact, DescribeServerOutput, Links};
use shared::syntax::Uri;

use super::call::{Answer, Call};
use super::output::Public;
use crate::config::{Config, SignUp};

/// com.atproto.server.describeServer
pub(super) async fn describe_server(Call { app, .. }: Call) -> Answer<Public<DescribeServerOutput>> {
    Ok(Public(describe(app.config())))
}

/// The version of what describeServer answers: another one when that is another, below 2^53.
pub(crate) fn version(config: &Config) -> u64 {
    let hash = Sha256::digest(serde_json::to_vec(&describe(config)).unwrap_or_default());
    hash.iter().take(6).fold(0, |version, byte| version << 8 | u64::from(*byte))
}

fn describe(config: &Config) -> DescribeServerOutput {
    let service = &config.service;
    let uri = |url: &Option<String>| url.as_deref().and_then(|url| Uri::parse(url).ok());
    DescribeServerOutput {
        invite_code_required: Some(config.sign_up != SignUp::Open),
        phone_verification_required: None,
        blob_upload_limit: Some(config.limits.blob),
        available_user_domains: config.handles.domains.clone(),
        links: Some(Links {
            privacy_policy: uri(&service.privacy_policy_url),
            terms_of_service: uri(&service.terms_of_service_url),
        }),
        contact: Some(Contact { email: service.contact_email_address.clone() }),
        did: service.did.clone(),
    }
}
