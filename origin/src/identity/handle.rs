//! Resolving a handle: which DID its domain says it is.
//!
//! Two ways are gone at once: a TXT record at `_atproto.` and the name, and `/.well-known/atproto-did` at the name
//! itself. DNS is believed where both answer. Where neither does, the operator's own name servers are asked. What DNS
//! says is never remembered: whoever has just changed a record wants to see it work.
//!
//! That a DID's document names the handle in turn is not looked at here.
//!
//! Specification: <https://atproto.com/specs/handle#handle-resolution>.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Resolver, TokioResolver};
use shared::syntax::{Did, Handle, Tld};
use tokio::sync::OnceCell;
use url::Url;

use crate::fetch::{Bounds, Client, Reach};

/// The longest well-known document that is read, in bytes. A DID is at most 2048.
const DOCUMENT_LIMIT: u64 = 2048;
/// How many redirects a well-known document may take.
const REDIRECTS: usize = 5;

/// Resolves handles.
#[derive(Debug)]
pub(super) struct Handles {
    client: Client,
    reach: Reach,
    scheme: &'static str,
    time: Duration,
    /// None where the system names no servers.
    dns: Option<TokioResolver>,
    backup: Vec<String>,
    backup_dns: OnceCell<TokioResolver>,
}

/// What DNS says of a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Txt {
    /// Nothing that can be used.
    Nothing,
    Is(Did),
    /// Several DIDs: then nobody is to be believed.
    Several,
}

impl Handles {
    /// `client` asks for well-known documents; each way may take `time`.
    pub(super) fn new(client: Client, reach: Reach, backup: Vec<String>, time: Duration) -> Self {
        let system = read_system_conf().ok().and_then(|(config, options)| dns(config, options, time));
        if system.is_none() {
            tracing::warn!("the system names no name server: handles are resolved over HTTPS only");
        }
        Self { client, reach, scheme: "https", time, dns: system, backup, backup_dns: OnceCell::new() }
    }

    /// The DID that the handle's domain says it is.
    pub(super) async fn resolve(&self, handle: &Handle) -> Option<Did> {
        match handle.tld() {
            Tld::Reserved => return None,
            Tld::Test if self.reach == Reach::Public => return None,
            Tld::Test | Tld::Public => {}
        }
        let by_dns = async {
            match &self.dns {
                Some(dns) => self.txt(dns, handle).await,
                None => Txt::Nothing,
            }
        };
        let (mut by_dns, mut by_http) = (std::pin::pin!(by_dns), std::pin::pin!(self.well_known(handle)));
        // DNS decides; what HTTPS said meanwhile is kept.
        let (txt, document) = tokio::select! {
            txt = &mut by_dns => (txt, None),
            document = &mut by_http => (by_dns.await, Some(document)),
        };
        let document = match (txt, document) {
            (Txt::Is(did), _) => return Some(did),
            (Txt::Several, _) => return None,
            (Txt::Nothing, Some(document)) => document,
            (Txt::Nothing, None) => by_http.await,
        };
        if document.is_some() {
            return document;
        }
        match self.txt(self.backup().await?, handle).await {
            Txt::Is(did) => Some(did),
            Txt::Nothing | Txt::Several => None,
        }
    }

    async fn txt(&self, dns: &TokioResolver, handle: &Handle) -> Txt {
        // The dot at the end: the name is whole, the system's search domains are not tried.
        let answer = tokio::time::timeout(self.time, dns.txt_lookup(format!("_atproto.{handle}."))).await;
        let Ok(Ok(lookup)) = answer else { return Txt::Nothing };
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).ok(),
            _ => None,
        });
        one_did(texts)
    }

    async fn well_known(&self, handle: &Handle) -> Option<Did> {
        let url = Url::parse(&format!("{}://{handle}/.well-known/atproto-did", self.scheme)).ok()?;
        let bounds = Bounds { time: self.time, body: DOCUMENT_LIMIT, redirects: REDIRECTS };
        let answer = self.client.get(url, "text/plain, */*", bounds).await.ok()?;
        if !answer.status.is_success() {
            return None;
        }
        let text = String::from_utf8(answer.body).ok()?;
        Did::parse(text.lines().next()?.trim()).ok()
    }

    /// The operator's own name servers, once their addresses are known.
    async fn backup(&self) -> Option<&TokioResolver> {
        if self.backup.is_empty() {
            return None;
        }
        let look_up = async || {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for name in &self.backup {
                match tokio::net::lookup_host((name.as_str(), 53)).await {
                    Ok(found) => addresses.extend(found.map(|address| address.ip())),
                    Err(error) => tracing::warn!(name, %error, "backup name server has no address"),
                }
            }
            let servers: Vec<_> = addresses.into_iter().map(NameServerConfig::udp_and_tcp).collect();
            if servers.is_empty() {
                return Err(());
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            dns(config, ResolverOpts::default(), self.time).ok_or(())
        };
        self.backup_dns.get_or_try_init(look_up).await.ok()
    }
}

fn dns(config: ResolverConfig, mut options: ResolverOpts, time: Duration) -> Option<TokioResolver> {
    options.timeout = time;
    options.attempts = 1;
    options.cache_size = 0;
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().ok()
}

/// The one DID that TXT records name. Records that are about something else, or name what is no DID, do not count.
fn one_did(texts: impl Iterator<Item = String>) -> Txt {
    let mut found = Txt::Nothing;
    for did in texts.filter_map(|text| Did::parse(text.strip_prefix("did=")?.trim()).ok()) {
        found = match found {
            Txt::Nothing => Txt::Is(did),
            Txt::Is(other) if other == did => Txt::Is(other),
            Txt::Is(_) | Txt::Several => Txt::Several,
        };
    }
    found
}

#[cfg(test)]
mod tests;
