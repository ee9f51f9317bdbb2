//! The object of a region: [`Host`] with the platform's database, clock and network around it.

use std::cell::Cell;
use std::rc::Rc;

use shared::link::{self, Ack, HostPush, Outcome, Region, RegionAnswer, RegionQuestion};
use wasm_bindgen_futures::spawn_local;
use worker::{DurableObject, Env, Request, Response, Result, State, console_error, durable_object};

use super::database::Database;
use super::message::{failed, nothing, read, said};
use super::origin::{self, Told as Answered};
use super::together::Together;
use super::{memory, now, settings};
use crate::counters::OfRegion;
use crate::host::{Ask, Due, Host, Told};
use crate::inner::{self, Described, Learned};
use crate::settings::Settings;

/// What describeServer is asked by.
const DESCRIBE: &str = "/xrpc/com.atproto.server.describeServer";

/// The durable object of a region.
#[durable_object]
pub struct HostObject {
    inner: Rc<Inner>,
}

struct Inner {
    env: Env,
    /// The object's name.
    region: Option<Region>,
    host: Host<Database>,
    /// The question that is under way.
    asking: Together<()>,
    describing: Cell<bool>,
}

impl DurableObject for HostObject {
    fn new(state: State, env: Env) -> Self {
        let region = state.id().name().and_then(|name| Region::parse(&name).ok());
        let host = Host::new(Database::of(&state));
        Self { inner: Rc::new(Inner { env, region, host, asking: Together::default(), describing: Cell::default() }) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(settings) = settings(&self.inner.env) else { return Response::error("not set up", 500) };
        let (path, body) = (request.path(), request.bytes().await?);
        let host = &self.inner.host;
        match path.as_str() {
            inner::host::ASK => {
                let Ask { account, counted } = read(&body)?;
                host.count(&counted);
                self.inner.current(&settings).await;
                let account = account.map(|account| host.find(&account)).transpose().map_err(failed)?.flatten();
                said(&Told { region: host.region(), account })
            }
            inner::host::LEARN => {
                let Learned { replica, handle, here } = read(&body)?;
                match here {
                    true => host.learn(&replica.account, handle.as_ref()).map_err(failed)?,
                    false => host.unlearn(&replica.account).map_err(failed)?,
                }
                nothing()
            }
            inner::host::PUSH => {
                let push: HostPush = read(&body)?;
                host.push(&push).map_err(failed)?;
                said(&Ack { outcome: Outcome::Applied, position: push.position })
            }
            inner::host::DESCRIBE => match self.inner.described(&settings).await? {
                Some(described) => said(&described),
                None => nothing(),
            },
            inner::host::COUNTERS => said(&OfRegion { counters: host.counted(), memory: memory() }),
            _ => Response::error("no such path", 404),
        }
    }
}

impl Inner {
    /// Sees to it that what is known is what may be gone by.
    async fn current(self: &Rc<Self>, settings: &Rc<Settings>) {
        let due = self.host.due(now());
        if due == Due::No {
            return;
        }
        let (inner, settings) = (Rc::clone(self), Rc::clone(settings));
        let asked = self.asking.join(async move {
            if let Err(error) = inner.ask(&settings).await {
                console_error!("a region's question failed: {error}");
            }
        });
        match due {
            Due::Soon => spawn_local(asked),
            Due::Now | Due::No => asked.await,
        }
    }

    async fn ask(&self, settings: &Settings) -> Result<()> {
        let Some(region) = &self.region else { return Ok(()) };
        let asked_at = now();
        let question = RegionQuestion { region: region.clone(), after: self.host.position().map_err(failed)? };
        match origin::ask::<RegionAnswer>(settings, link::REGION, &question).await {
            Answered::Answer(answer) => self.host.take(&answer, asked_at).map_err(failed),
            Answered::Refused(status) => {
                console_error!("the origin refuses the question of region {region} with status {status}");
                self.host.away(now()).map_err(failed)
            }
            Answered::Away => self.host.away(now()).map_err(failed),
        }
    }

    /// What describeServer answers.
    async fn described(self: &Rc<Self>, settings: &Rc<Settings>) -> Result<Option<Described>> {
        self.current(settings).await;
        let away = self.host.region().away;
        match self.host.described().map_err(failed)? {
            Some((page, current)) if current || away => Ok(Some(Described { page, stale: away })),
            _ => {
                if !away && !self.describing.replace(true) {
                    let (inner, settings) = (Rc::clone(self), Rc::clone(settings));
                    spawn_local(async move {
                        if let Err(error) = inner.describe(&settings).await {
                            console_error!("what the server says of itself cannot be kept: {error}");
                        }
                        inner.describing.set(false);
                    });
                }
                Ok(None)
            }
        }
    }

    async fn describe(&self, settings: &Settings) -> Result<()> {
        let server = self.host.server();
        let Some(mut response) = origin::page(settings, DESCRIBE).await else { return Ok(()) };
        self.host.describe(server, response.bytes().await?).map_err(failed)
    }
}
