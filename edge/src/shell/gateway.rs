//! Requests, answered as they are planned.
//!
//! Whatever goes wrong at the edge on the way (an object that does not answer, a bucket that fails) has one remedy: the
//! origin answers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use shared::api::sync::GetBlobParams;
use shared::link::{self, BodyDigest, Purge, PurgeScope, Purged, Region, Replica as Identity};
use shared::syntax::{AtIdentifier, Did, Handle};
use subtle::ConstantTimeEq as _;
use worker::{Context, Env, Result, Stub, console_error, console_warn};

use super::origin::{self, Client, NOBODY, cf_property};
use super::{blobs, message, now, objects};
use crate::answer::{Answer, Mark};
use crate::blob::{self, Asked};
use crate::counters::{self, Counted, Counters, OfRegion};
use crate::error::Refusal;
use crate::fresh::Freshness;
use crate::gateway::{Plan, Said, plan, target};
use crate::host::{Ask, Told};
use crate::inner::{self, BlobAsked, BlobTold, Described, Filled, KnownAsked, KnownTold, ReadAsked, Unanswered};
use crate::limit::Limiter;
use crate::placement::nearest;
use crate::read::Read;
use crate::settings::{Bucket, Settings};

/// For how long an isolate goes by what a host object told it, in milliseconds.
const MEMO: u64 = 1_000;
/// How many accounts an isolate remembers to have replicas.
const REMEMBERED: usize = 10_000;

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What an isolate remembers between requests.
#[derive(Default)]
struct Memory {
    regions: HashMap<Region, Remembered>,
    limiter: Limiter,
    counted: HashMap<Region, Counters>,
}

struct Remembered {
    told: Rc<crate::fresh::Region>,
    at: u64,
    accounts: HashMap<AtIdentifier, Did>,
}

struct Gateway {
    request: web_sys::Request,
    env: Env,
    context: Context,
    settings: Rc<Settings>,
    client: Client,
}

/// Answers a request.
pub(super) async fn answer(
    request: web_sys::Request,
    env: Env,
    context: Context,
    settings: Rc<Settings>,
) -> Result<web_sys::Response> {
    let headers = request.headers();
    let plan = plan(&request.method(), &request.url(), |name| headers.has(name).unwrap_or(true));
    // There is at least one region.
    let Some(client) = client(&request, &settings) else { return message::refused(Refusal::Internal) };
    let gateway = Gateway { request, env, context, settings, client };
    let alone = matches!(plan, Plan::Forward | Plan::Reply(_) | Plan::Origin(_) | Plan::Metrics);
    if !alone && (gateway.settings.keys.is_none() || !gateway.is_within_limit()) {
        return match gateway.settings.keys {
            None => gateway.forward(Mark::Forward).await,
            Some(_) => gateway.refuse(Refusal::TooMany),
        };
    }
    let answered = match plan {
        Plan::Forward => return gateway.forward(Mark::Forward).await,
        Plan::Reply(refusal) => return gateway.refuse(refusal),
        Plan::Origin(said) => return gateway.said(said).await,
        Plan::Metrics => gateway.metrics().await,
        Plan::Repo(read) => gateway.repo(&read).await,
        Plan::Blob(params) => gateway.blob(&params).await,
        Plan::WellKnown(handle) => gateway.well_known(&handle).await,
        Plan::DescribeServer => gateway.describe_server().await,
    };
    match answered {
        Ok(response) => Ok(response),
        Err(error) => {
            console_error!("the edge failed, and the origin is asked: {error}");
            gateway.count(Counted::Error);
            gateway.forward(Mark::Forward).await
        }
    }
}

/// Counts something, to be told to the region's host object.
fn count(region: &Region, what: Counted) {
    MEMORY.with_borrow_mut(|memory| memory.counted.entry(region.clone()).or_default().count(what));
}

/// What was counted in a region and not told yet.
fn uncounted(region: &Region) -> Counters {
    MEMORY.with_borrow_mut(|memory| memory.counted.remove(region).unwrap_or_default())
}

/// Who sent a request, and to which region they belong.
fn client(request: &web_sys::Request, settings: &Settings) -> Option<Client> {
    let header = |name: &str| request.headers().get(name).ok().flatten();
    let address = header("cf-connecting-ip").and_then(|address| address.parse::<IpAddr>().ok()).unwrap_or(NOBODY);
    let chosen = header("x-edge-region").filter(|_| settings.dev).and_then(|name| Region::parse(&name).ok());
    let chosen = chosen.filter(|region| settings.regions.contains(region));
    let region = chosen.or_else(|| {
        let longitude = cf_property(request, "longitude").and_then(|longitude| longitude.parse().ok());
        nearest(&settings.regions, cf_property(request, "continent").as_deref(), longitude).cloned()
    });
    Some(Client { address, region: region? })
}

impl Gateway {
    fn head(&self) -> bool {
        self.request.method() == "HEAD"
    }

    fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }

    fn is_within_limit(&self) -> bool {
        let (address, limit) = (self.client.address, self.settings.limit);
        MEMORY.with_borrow_mut(|memory| memory.limiter.allows(address, limit, now()))
    }

    fn count(&self, what: Counted) {
        count(&self.client.region, what);
    }

    /// The origin answers.
    async fn forward(&self, mark: Mark) -> Result<web_sys::Response> {
        self.count(if mark == Mark::Miss { Counted::Miss } else { Counted::Forward });
        match origin::forward(&self.request, &self.settings, &self.client, mark).await {
            Ok(response) => Ok(response),
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn refuse(&self, refusal: Refusal) -> Result<web_sys::Response> {
        self.count(Counted::Refused);
        message::refused(refusal)
    }

    fn counted(&self, stale: bool) -> Mark {
        self.count(if stale { Counted::Stale } else { Counted::Hit });
        if stale { Mark::Stale } else { Mark::Hit }
    }

    /// The account's replica in the client's region.
    fn identity(&self, account: &Did) -> Identity {
        Identity { account: account.clone(), region: self.client.region.clone() }
    }

    fn replica(&self, account: &Did) -> Result<Stub> {
        objects::replica(&self.env, &self.identity(account))
    }

    fn host(&self) -> Result<Stub> {
        objects::host(&self.env, &self.client.region)
    }

    /// How fresh the region is, and which account is meant if it has a replica here.
    async fn told(&self, account: &AtIdentifier) -> Result<(Rc<crate::fresh::Region>, Option<Did>)> {
        let region = &self.client.region;
        let remembered = MEMORY.with_borrow(|memory| {
            let remembered = memory.regions.get(region)?;
            let lease = remembered.told.until.saturating_sub(remembered.at);
            let fresh = now() < remembered.at + MEMO.min(lease / 5);
            // Who has no replica may have one by now.
            let did = remembered.accounts.get(account).filter(|_| fresh)?;
            Some((Rc::clone(&remembered.told), Some(did.clone())))
        });
        if let Some(told) = remembered {
            return Ok(told);
        }
        let ask = Ask { account: Some(account.clone()), counted: uncounted(region) };
        let told = message::ask::<Told>(&self.host()?, inner::host::ASK, &ask).await?;
        let told = told.ok_or_else(|| message::failed("a host object says nothing"))?;
        let fresh = Rc::new(told.region);
        MEMORY.with_borrow_mut(|memory| {
            let mut accounts = memory.regions.remove(region).map(|remembered| remembered.accounts).unwrap_or_default();
            if accounts.len() >= REMEMBERED {
                accounts.clear();
            }
            match &told.account {
                Some(did) => drop(accounts.insert(account.clone(), did.clone())),
                None => drop(accounts.remove(account)),
            }
            memory.regions.insert(region.clone(), Remembered { told: Rc::clone(&fresh), at: now(), accounts });
        });
        Ok((fresh, told.account))
    }

    fn forget(&self, account: &AtIdentifier) {
        MEMORY.with_borrow_mut(|memory| {
            if let Some(remembered) = memory.regions.get_mut(&self.client.region) {
                remembered.accounts.remove(account);
            }
        });
    }

    /// The account that is meant, and how fresh what is held of it must be; `None` if there is no replica here.
    async fn find(&self, account: &AtIdentifier) -> Result<Option<(Did, Freshness)>> {
        let (region, account) = self.told(account).await?;
        Ok(account.map(|did| {
            let fresh = region.of(&did);
            (did, fresh)
        }))
    }

    async fn repo(&self, read: &Read) -> Result<web_sys::Response> {
        let account = read.account();
        let Some((did, fresh)) = self.find(&account).await? else { return self.missed(&account, None).await };
        let asked =
            ReadAsked { fresh, read: read.clone(), if_none_match: self.header("if-none-match"), head: self.head() };
        let response = message::call(&self.replica(&did)?, inner::replica::READ, &message::written(&asked)?).await?;
        match response.headers().get(inner::UNANSWERED)? {
            Some(why) => self.unanswered(Unanswered::parse(&why), &account, &did).await,
            None if response.headers().has("x-edge")? => {
                let stale = response.headers().get("x-edge")?.as_deref() == Some(Mark::Stale.as_str());
                let _mark = self.counted(stale);
                Ok(response.into())
            }
            None => Err(message::failed("a replica failed")),
        }
    }

    async fn blob(&self, params: &GetBlobParams) -> Result<web_sys::Response> {
        let GetBlobParams { did, cid } = params;
        let account = AtIdentifier::from(did.clone());
        let Some((did, fresh)) = self.find(&account).await? else { return self.missed(&account, None).await };
        let asked = BlobAsked { fresh, cid: cid.clone() };
        let told = message::ask::<BlobTold>(&self.replica(&did)?, inner::replica::BLOB, &asked).await?;
        let (mime_type, size, stale) = match told {
            Some(BlobTold::Open { mime_type, size, stale }) => (mime_type, size, stale),
            Some(BlobTold::Refused { body, stale }) => {
                let answer = Answer::error(400, body).private();
                return message::response(answer, self.counted(stale), self.head());
            }
            Some(BlobTold::Unanswered(why)) => return self.unanswered(why, &account, &did).await,
            None => return self.forward(Mark::Forward).await,
        };
        if self.settings.bucket == Bucket::None {
            return self.forward(Mark::Forward).await;
        }
        let bucket = blobs::bucket(&self.env)?;
        let [range, if_range, known] = ["range", "if-range", "if-none-match"].map(|name| self.header(name));
        let asked = Asked {
            range: range.as_deref().filter(|_| !self.head()),
            if_range: if_range.as_deref(),
            if_none_match: known.as_deref(),
        };
        let mut answer = match blob::answer(cid, &mime_type, size, asked) {
            Ok(answer) => answer,
            Err(answer) => return message::response(answer, self.counted(stale), self.head()),
        };
        // A HEAD gets no stream, but only if there is one.
        let stream = match answer.body.take() {
            Some(part) if !self.head() => blobs::open(&bucket, &did, cid, size, part).await?.map(Some),
            _ => blobs::has(&bucket, &did, cid, size).await?.then_some(None),
        };
        let Some(stream) = stream else {
            if self.settings.bucket == Bucket::Cache {
                self.copy_later(&did, cid, size, fresh);
            }
            return self.forward(Mark::Miss).await;
        };
        let (builder, _) = message::begun(answer, self.counted(stale))?;
        Ok(match stream {
            Some(stream) => builder.stream(stream),
            None => builder.empty(),
        }
        .into())
    }

    /// Copies a blob into the bucket, after the answer. If it is not public any more by then, the copy goes again.
    fn copy_later(&self, did: &Did, cid: &shared::cid::Cid, size: u64, fresh: Freshness) {
        let (env, settings, replica) = (self.env.clone(), Rc::clone(&self.settings), self.replica(did));
        let (did, cid, region) = (did.clone(), cid.clone(), self.client.region.clone());
        self.context.wait_until(async move {
            let copied = async {
                let bucket = blobs::bucket(&env)?;
                if !blobs::copy(&bucket, &settings, &did, &cid, size).await? {
                    return Ok(false);
                }
                let asked = BlobAsked { fresh, cid: cid.clone() };
                let told = message::ask::<BlobTold>(&replica?, inner::replica::BLOB, &asked).await?;
                if !matches!(told, Some(BlobTold::Open { .. })) {
                    blobs::drop_copies(&bucket, &did, Some(std::slice::from_ref(&cid))).await?;
                }
                Ok::<_, worker::Error>(true)
            };
            match copied.await {
                Ok(true) => count(&region, Counted::CopiedBlob),
                Ok(false) => {}
                Err(error) => console_warn!("a blob was not copied: {error}"),
            }
        });
    }

    async fn well_known(&self, handle: &Handle) -> Result<web_sys::Response> {
        let account = AtIdentifier::from(handle.clone());
        let Some((did, fresh)) = self.find(&account).await? else { return self.missed(&account, None).await };
        // Only names of the server's own domains are answered for.
        let described = message::ask::<Described>(&self.host()?, inner::host::DESCRIBE, &()).await?;
        if !described.is_some_and(|described| serves(&described.page, handle)) {
            return self.forward(Mark::Forward).await;
        }
        let asked = KnownAsked { fresh, handle: handle.clone() };
        match message::ask::<KnownTold>(&self.replica(&did)?, inner::replica::KNOWN, &asked).await? {
            Some(KnownTold::Yes { stale }) => {
                let mut answer = Answer::text(did.as_str());
                answer.headers.push(("vary", "Host".to_owned()));
                message::response(answer, self.counted(stale), self.head())
            }
            Some(KnownTold::Unanswered(why)) => self.unanswered(why, &account, &did).await,
            None => self.forward(Mark::Forward).await,
        }
    }

    async fn describe_server(&self) -> Result<web_sys::Response> {
        let host = self.host()?;
        let Some(Described { page, stale }) = message::ask(&host, inner::host::DESCRIBE, &()).await? else {
            return self.forward(Mark::Miss).await;
        };
        let answer = Answer::json_text(page).unless_known(self.header("if-none-match").as_deref());
        message::response(answer, self.counted(stale), self.head())
    }

    async fn unanswered(&self, why: Unanswered, account: &AtIdentifier, did: &Did) -> Result<web_sys::Response> {
        match why {
            Unanswered::Forward => self.forward(Mark::Forward).await,
            Unanswered::TooOld => self.refuse(Refusal::OriginAway),
            Unanswered::Absent => {
                self.forget(account);
                self.missed(account, Some(did)).await
            }
            Unanswered::Filling => self.missed(account, Some(did)).await,
        }
    }

    /// The origin answers; if it has the account, a replica is filled meanwhile.
    async fn missed(&self, account: &AtIdentifier, did: Option<&Did>) -> Result<web_sys::Response> {
        let response = self.forward(Mark::Miss).await?;
        if matches!(response.status(), 200 | 206 | 304) {
            let did = did.cloned().or_else(|| match account {
                AtIdentifier::Did(did) => Some(did.clone()),
                AtIdentifier::Handle(_) => None,
            });
            let (env, settings) = (self.env.clone(), Rc::clone(&self.settings));
            let (region, account) = (self.client.region.clone(), account.clone());
            self.context.wait_until(async move {
                let filled = fill(&env, &settings, &region, did, &account).await;
                let counted = match filled {
                    Ok(Filled::Begun) => Counted::Fill,
                    Ok(Filled::Hosted | Filled::NotHosted) => return,
                    Ok(Filled::Not) => Counted::FailedFill,
                    Err(error) => {
                        console_warn!("no replica is filled of {account}: {error}");
                        Counted::FailedFill
                    }
                };
                count(&region, counted);
            });
        }
        Ok(response)
    }

    /// The origin says something, if it is the origin.
    async fn said(&self, said: Said) -> Result<web_sys::Response> {
        let Some(keys) = &self.settings.keys else { return self.refuse(Refusal::NotFound) };
        // Nobody's body is read who does not even pretend.
        if !self.request.headers().has("headwater-feed")? {
            return self.refuse(Refusal::NotFound);
        }
        let Some(body) = message::body(&self.request).await? else { return self.refuse(Refusal::NotFound) };
        let url = self.request.url();
        let signed = link::Request { method: "POST", path: target(&url) };
        let checked = BodyDigest::of(&body)
            .and_then(|digest| keys.feed.verify(signed, |name| self.header(name), digest, now() / 1000));
        if let Err(error) = checked {
            console_warn!("a request is not signed as the origin does it: {error}");
            return self.refuse(Refusal::NotFound);
        }
        let regions = &self.settings.regions;
        match said {
            Said::Push(replica) if regions.contains(&replica.region) => {
                let object = objects::replica(&self.env, &replica)?;
                let mut response = message::call(&object, inner::replica::PUSH, &body).await?;
                let answer = response.bytes().await?;
                let gap = link::decode::<link::Ack>(&answer).is_ok_and(|ack| ack.outcome == link::Outcome::Behind);
                self.count(if gap { Counted::Gap } else { Counted::Push });
                acknowledgement(response.status_code(), &answer)
            }
            Said::HostPush(region) if regions.contains(&region) => {
                let mut response = message::call(&objects::host(&self.env, &region)?, inner::host::PUSH, &body).await?;
                acknowledgement(response.status_code(), &response.bytes().await?)
            }
            // A region that is not served any more has no replicas.
            Said::Push(_) | Said::HostPush(_) => {
                let ack = link::Ack { outcome: link::Outcome::Gone, position: link::Position::default() };
                acknowledgement(200, &message::written(&ack)?)
            }
            Said::Purge => {
                self.count(Counted::Purge);
                let purged = self.purge(&message::read(&body)?).await?;
                acknowledgement(200, &message::written(&purged)?)
            }
        }
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        let account = &purge.account;
        if matches!(purge.scope, PurgeScope::Everything | PurgeScope::Replicas) {
            for region in &self.settings.regions {
                let replica = Identity { account: account.clone(), region: region.clone() };
                message::call(&objects::replica(&self.env, &replica)?, inner::replica::DROP, &[]).await?;
                let learned = inner::Learned { replica, handle: None, here: false };
                message::ask::<()>(&objects::host(&self.env, region)?, inner::host::LEARN, &learned).await?;
            }
        }
        let cids = match &purge.scope {
            PurgeScope::Replicas => return Ok(Purged { done: true, blobs: 0 }),
            PurgeScope::Everything => None,
            PurgeScope::Blobs(cids) => Some(cids.as_slice()),
        };
        if self.settings.bucket != Bucket::Cache {
            return Ok(Purged { done: true, blobs: 0 });
        }
        let (blobs, done) = blobs::drop_copies(&blobs::bucket(&self.env)?, account, cids).await?;
        Ok(Purged { done, blobs })
    }

    /// What was counted, for who brings the token.
    async fn metrics(&self) -> Result<web_sys::Response> {
        let Some(token) = &self.settings.metrics_token else { return self.refuse(Refusal::NotFound) };
        let brought = self.header("authorization").unwrap_or_default();
        let brought = brought.strip_prefix("Bearer ").unwrap_or_default();
        if !bool::from(brought.as_bytes().ct_eq(token.as_bytes())) {
            return self.refuse(Refusal::NotFound);
        }
        let mut all = Vec::new();
        for region in &self.settings.regions {
            let host = objects::host(&self.env, region)?;
            // What this isolate has not told yet goes along.
            let _told =
                message::ask::<Told>(&host, inner::host::ASK, &Ask { account: None, counted: uncounted(region) })
                    .await?;
            let of_region = message::ask::<OfRegion>(&host, inner::host::COUNTERS, &()).await?;
            all.push((region.to_string(), of_region.unwrap_or_default()));
        }
        let headers = vec![
            ("content-type", "text/plain; version=0.0.4; charset=utf-8".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        let answer = Answer { status: 200, headers, body: Some(counters::text(&all).into_bytes()) };
        message::response(answer, Mark::Reply, self.head())
    }
}

/// Has a replica filled. An account that is known by its handle alone is looked up at the origin.
async fn fill(
    env: &Env,
    settings: &Settings,
    region: &Region,
    did: Option<Did>,
    account: &AtIdentifier,
) -> Result<Filled> {
    let did = match (did, account) {
        (Some(did), _) => did,
        (None, AtIdentifier::Did(did)) => did.clone(),
        (None, AtIdentifier::Handle(handle)) => {
            #[derive(serde::Deserialize)]
            struct Resolved {
                did: Did,
            }
            let path = format!("/xrpc/com.atproto.identity.resolveHandle?handle={handle}");
            let Some(mut page) = origin::page(settings, &path).await else { return Ok(Filled::Not) };
            page.json::<Resolved>().await?.did
        }
    };
    // The application view's answers may be of anybody: no object is made for who is not hosted here.
    let path = format!("/xrpc/com.atproto.sync.getRepoStatus?did={did}").replace('%', "%25");
    if origin::page(settings, &path).await.is_none() {
        return Ok(Filled::NotHosted);
    }
    let replica = Identity { account: did, region: region.clone() };
    let object = objects::replica(env, &replica)?;
    Ok(message::ask(&object, inner::replica::FILL, &replica).await?.unwrap_or(Filled::Not))
}

/// Whether a handle is below a domain that the server gives handles on, by what it says of itself.
fn serves(described: &[u8], handle: &Handle) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        available_user_domains: Vec<String>,
    }
    let page = serde_json::from_slice::<Page>(described);
    page.is_ok_and(|page| page.available_user_domains.iter().any(|domain| handle.as_str().ends_with(domain.as_str())))
}

/// What the origin is answered.
fn acknowledgement(status: u16, body: &[u8]) -> Result<web_sys::Response> {
    let headers = web_sys::Headers::new()?;
    headers.set("content-type", link::MEDIA_TYPE)?;
    headers.set("cache-control", "no-store")?;
    let init = web_sys::ResponseInit::new();
    init.set_status(status);
    init.set_headers(&headers);
    let body = js_sys::Uint8Array::from(body);
    Ok(web_sys::Response::new_with_opt_js_u8_array_and_init(Some(&body), &init)?)
}
