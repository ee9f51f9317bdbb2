//! The object of a replica: [`Replica`] with the platform's database, clock and network around it.
//!
//! It asks the origin whatever it has to, once for all readers who wait: to be filled, and for what it missed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use shared::link::{self, Position, Pull, PullAnswer, Push, Register, RegisterAnswer, Registered, Replica as Identity};
use wasm_bindgen_futures::spawn_local;
use worker::{
    Delay, DurableObject, Env, Error, Request, Response, Result, State, console_error, console_warn, durable_object,
};

use super::database::Database;
use super::message::{failed, nothing, read, said};
use super::origin::{self, Told};
use super::together::Together;
use super::{message, now, objects, settings};
use crate::answer::Mark;
use crate::fresh::{Freshness, Verdict};
use crate::inner::{self, BlobAsked, BlobTold, Filled, KnownAsked, KnownTold, Learned, ReadAsked, Unanswered};
use crate::replica::{CarBody, Export, Gate, Outcome, Presence, Replica};
use crate::settings::Settings;

/// How often a replica looks whether anybody still reads it, and after how long without readers it ends. Milliseconds.
const LOOK: u64 = 24 * 60 * 60 * 1000;
const UNREAD: u64 = 7 * LOOK;
/// How many answers in a row a pull goes on for.
const PAGES: usize = 50;
/// How much of a snapshot is taken before others are let in, in bytes.
const AT_A_TIME: usize = 1024 * 1024;
/// How long an account that is too large is left alone. Milliseconds.
const TOO_LARGE: u64 = 10 * 60 * 1000;

/// The durable object of one account in one region.
#[durable_object]
pub struct ReplicaObject {
    inner: Rc<Inner>,
}

struct Inner {
    state: State,
    env: Env,
    replica: Replica<Database>,
    /// The pull that is under way; whether the origin answered.
    pulling: Together<bool>,
    /// Whether a snapshot is on its way.
    filling: Cell<bool>,
    /// Until when it is not tried to fill it: the account is too large.
    left_alone: Cell<u64>,
}

impl DurableObject for ReplicaObject {
    fn new(state: State, env: Env) -> Self {
        let replica = Replica::new(Database::of(&state));
        let inner = Inner {
            state,
            env,
            replica,
            pulling: Together::default(),
            filling: Cell::default(),
            left_alone: Cell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(settings) = settings(&self.inner.env) else { return Response::error("not set up", 500) };
        let (path, body) = (request.path(), request.bytes().await?);
        match path.as_str() {
            inner::replica::READ => self.inner.read(&settings, &read::<ReadAsked>(&body)?).await,
            inner::replica::BLOB => said(&self.inner.blob(&settings, &read::<BlobAsked>(&body)?).await?),
            inner::replica::KNOWN => said(&self.inner.known(&settings, &read::<KnownAsked>(&body)?).await?),
            inner::replica::PUSH => self.inner.push(&body),
            inner::replica::FILL => said(&self.inner.fill(&settings, read(&body)?).await?),
            inner::replica::DROP => {
                self.inner.forget().await?;
                nothing()
            }
            _ => Response::error("no such path", 404),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        let Some(identity) = self.inner.replica.identity().map_err(failed)? else { return nothing() };
        let unread = now().saturating_sub(self.inner.replica.read_at().map_err(failed)?);
        match settings(&self.inner.env) {
            // Also one whose snapshot never came: nobody has asked for it again.
            Some(settings) if unread > UNREAD || self.inner.is_forsaken().map_err(failed)? => {
                // If the origin does not hear it, it hears from the next push that there is nothing.
                let _unheard = origin::send(&settings, link::UNREGISTER, &identity).await;
                self.inner.learned(&identity, false).await;
                self.inner.forget().await?;
            }
            _ => self.inner.look_later().await?,
        }
        nothing()
    }
}

/// A replica that may answer, and whether what it answers may be old.
enum Ready {
    Yes { stale: bool },
    No(Unanswered),
}

impl Inner {
    async fn read(self: &Rc<Self>, settings: &Rc<Settings>, asked: &ReadAsked) -> Result<Response> {
        let stale = match self.ready(settings, &asked.fresh).await? {
            Ready::Yes { stale } => stale,
            Ready::No(why) => return unanswered(why),
        };
        let answer = match self.replica.read(&asked.read).map_err(failed)? {
            Outcome::Answer(answer) => answer.unless_known(asked.if_none_match.as_deref()),
            Outcome::Forward => return unanswered(Unanswered::Forward),
        };
        let mark = if stale { Mark::Stale } else { Mark::Hit };
        let (builder, body) = message::begun(answer, mark)?;
        match body {
            None => Ok(builder.empty()),
            Some(CarBody::Whole(body)) => message::whole(builder, body, asked.head),
            // Of these nobody knows the length.
            Some(_) if asked.head => Ok(builder.empty()),
            Some(CarBody::Unsized(body)) => builder.from_stream(stream::iter([Ok::<_, Error>(body)])),
            Some(CarBody::Repo(export)) => builder.from_stream(chunks(*export)),
        }
    }

    async fn blob(self: &Rc<Self>, settings: &Rc<Settings>, asked: &BlobAsked) -> Result<BlobTold> {
        let stale = match self.ready(settings, &asked.fresh).await? {
            Ready::Yes { stale } => stale,
            Ready::No(why) => return Ok(BlobTold::Unanswered(why)),
        };
        Ok(match self.replica.blob(&asked.cid).map_err(failed)? {
            Outcome::Answer(Gate::Open { mime_type, size }) => BlobTold::Open { mime_type, size, stale },
            Outcome::Answer(Gate::Refused(refusal)) => BlobTold::Refused { body: refusal.to_json(), stale },
            Outcome::Forward => BlobTold::Unanswered(Unanswered::Forward),
        })
    }

    async fn known(self: &Rc<Self>, settings: &Rc<Settings>, asked: &KnownAsked) -> Result<KnownTold> {
        let stale = match self.ready(settings, &asked.fresh).await? {
            Ready::Yes { stale } => stale,
            Ready::No(why) => return Ok(KnownTold::Unanswered(why)),
        };
        Ok(match self.replica.well_known(&asked.handle).map_err(failed)? {
            Some(_) => KnownTold::Yes { stale },
            None => KnownTold::Unanswered(Unanswered::Forward),
        })
    }

    fn push(self: &Rc<Self>, body: &[u8]) -> Result<Response> {
        let push: Push = read(body)?;
        let handle = self.replica.handle().map_err(failed)?;
        let ack = self.replica.push(&push, body, now()).map_err(failed)?;
        if let Some(identity) = self.replica.identity().map_err(failed)? {
            self.tell_of_trouble(&identity);
            if self.replica.handle().map_err(failed)? != handle {
                let inner = Rc::clone(self);
                spawn_local(async move { inner.learned(&identity, true).await });
            }
        }
        said(&ack)
    }

    /// Whether it may answer a read that brings `fresh`; it pulls before, if it has to.
    async fn ready(self: &Rc<Self>, settings: &Rc<Settings>, fresh: &Freshness) -> Result<Ready> {
        let mut away = false;
        // What it pulled may have led to more.
        for _ in 0..3 {
            match self.replica.presence().map_err(failed)? {
                Presence::Absent => return Ok(Ready::No(Unanswered::Absent)),
                Presence::Filling => return Ok(Ready::No(Unanswered::Filling)),
                Presence::Serving => {}
            }
            match self.replica.judge(fresh, now(), away, settings.max_stale).map_err(failed)? {
                Verdict::Fresh => return Ok(Ready::Yes { stale: false }),
                Verdict::Stale => return Ok(Ready::Yes { stale: true }),
                Verdict::TooOld => return Ok(Ready::No(Unanswered::TooOld)),
                Verdict::Pull => away = !self.pulled(settings, fresh.position).await,
            }
        }
        Ok(Ready::No(Unanswered::Forward))
    }
}

impl Inner {
    /// Pulls, together with whoever else waits for it. Whether the origin answered.
    async fn pulled(self: &Rc<Self>, settings: &Rc<Settings>, region: Position) -> bool {
        let (inner, settings) = (Rc::clone(self), Rc::clone(settings));
        let pulled = self.pulling.join(async move {
            match inner.pull(&settings, region).await {
                Ok(answered) => answered,
                Err(error) => {
                    console_error!("a pull failed: {error}");
                    true
                }
            }
        });
        pulled.await
    }

    /// Whether the origin answered.
    async fn pull(&self, settings: &Settings, region: Position) -> Result<bool> {
        let Some(identity) = self.replica.identity().map_err(failed)? else { return Ok(true) };
        for _ in 0..PAGES {
            let asked_at = now();
            let position = self.replica.position().map_err(failed)?;
            let question = Pull { replica: identity.clone(), position };
            match origin::ask::<PullAnswer>(settings, link::PULL, &question).await {
                Told::Answer(PullAnswer::Changes { pushes, more, lease }) => {
                    let until = lease.edge_until(asked_at);
                    self.replica.pulled(&pushes, more, region, until, now()).map_err(failed)?;
                    self.tell_of_trouble(&identity);
                    if !more {
                        return Ok(true);
                    }
                }
                Told::Answer(PullAnswer::Refill) | Told::Refused(_) => {
                    self.replica.refill().map_err(failed)?;
                    return Ok(true);
                }
                Told::Answer(PullAnswer::NotHosted) => {
                    self.forget().await?;
                    return Ok(true);
                }
                Told::Away => return Ok(false),
            }
        }
        // It cannot keep up: a snapshot is cheaper.
        self.replica.refill().map_err(failed)?;
        Ok(true)
    }

    fn tell_of_trouble(&self, identity: &Identity) {
        if let Some(trouble) = self.replica.trouble() {
            console_error!("the replica of {} could not take a change and is filled anew: {trouble}", identity.account);
        }
    }

    /// Has it filled, if it is not, and no snapshot is on its way already.
    async fn fill(self: &Rc<Self>, settings: &Rc<Settings>, identity: Identity) -> Result<Filled> {
        if self.filling.get() {
            return Ok(Filled::Hosted);
        }
        if self.replica.presence().map_err(failed)? == Presence::Serving {
            // Whoever asks was not told that it is here: the region's host object has forgotten it, or its handle.
            self.learned(&identity, true).await;
            return Ok(Filled::Hosted);
        }
        if now() < self.left_alone.get() {
            return Ok(Filled::Not);
        }
        self.filling.set(true);
        self.look_later().await?;
        let registered = self.register(settings, &identity).await;
        let Ok(Ok(registered)) = registered else {
            self.filling.set(false);
            return match registered {
                Ok(Err(filled)) => Ok(filled),
                Ok(Ok(_)) => Ok(Filled::Not),
                Err(error) => Err(error),
            };
        };
        let (inner, settings) = (Rc::clone(self), Rc::clone(settings));
        spawn_local(async move {
            let account = identity.account.clone();
            match inner.snapshot(&settings, &identity, registered).await {
                Ok(true) => inner.learned(&identity, true).await,
                Ok(false) => {}
                Err(error) => console_warn!("the replica of {account} was not filled: {error}"),
            }
            inner.filling.set(false);
        });
        Ok(Filled::Begun)
    }

    /// Registers; else what is to be told.
    async fn register(
        &self,
        settings: &Settings,
        identity: &Identity,
    ) -> Result<std::result::Result<Registered, Filled>> {
        // It must be there when the first push comes, which may be before the answer.
        let _begun = self.replica.begin(&identity.account, &identity.region, now()).map_err(failed)?;
        let question = Register { replica: identity.clone() };
        Ok(match origin::ask::<RegisterAnswer>(settings, link::REGISTER, &question).await {
            Told::Answer(RegisterAnswer::Registered(registered)) if registered.bytes > settings.max_replica_bytes => {
                let _unheard = origin::send(settings, link::UNREGISTER, identity).await;
                self.forget().await?;
                self.left_alone.set(now() + TOO_LARGE);
                Err(Filled::Not)
            }
            Told::Answer(RegisterAnswer::Registered(registered)) => Ok(registered),
            Told::Answer(RegisterAnswer::NotHosted) => {
                self.forget().await?;
                Err(Filled::NotHosted)
            }
            Told::Refused(_) | Told::Away => {
                self.forget().await?;
                Err(Filled::Not)
            }
        })
    }

    /// Takes the snapshot. Whether it is whole.
    async fn snapshot(&self, settings: &Settings, identity: &Identity, registered: Registered) -> Result<bool> {
        let mut filling = self.replica.resume(&identity.account).map_err(failed)?;
        let mut response = match origin::send(settings, link::SNAPSHOT, identity).await {
            Told::Answer(response) => response,
            Told::Refused(404) => {
                self.forget().await?;
                return Ok(false);
            }
            // It is too large to be told.
            Told::Refused(422) => {
                let _unheard = origin::send(settings, link::UNREGISTER, identity).await;
                self.forget().await?;
                self.left_alone.set(now() + TOO_LARGE);
                return Ok(false);
            }
            Told::Refused(_) | Told::Away => return Ok(false),
        };
        let (mut stream, mut taken) = (response.stream()?, 0);
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            taken += chunk.len();
            self.replica.fill(&mut filling, chunk.into()).map_err(failed)?;
            // What comes faster than it is taken never waits by itself, and readers would have to until the end.
            if taken >= AT_A_TIME {
                taken = 0;
                Delay::from(Duration::ZERO).await;
            }
        }
        self.replica.finish(filling, registered.position, now()).map_err(failed)?;
        self.look_later().await?;
        Ok(true)
    }

    /// Whether it waits for a snapshot that is not on its way.
    fn is_forsaken(&self) -> std::result::Result<bool, crate::replica::ReplicaError> {
        Ok(self.replica.presence()? == Presence::Filling && !self.filling.get())
    }

    /// Forgets everything.
    async fn forget(&self) -> Result<()> {
        self.state.storage().delete_alarm().await?;
        self.state.storage().delete_all().await?;
        self.replica.emptied();
        Ok(())
    }

    async fn look_later(&self) -> Result<()> {
        self.state.storage().set_alarm(Duration::from_millis(LOOK)).await
    }

    /// Tells the region's host object that there is a replica, or none any more.
    async fn learned(&self, replica: &Identity, here: bool) {
        let told = async {
            let handle = self.replica.handle().map_err(failed)?;
            let host = objects::host(&self.env, &replica.region)?;
            message::ask::<()>(&host, inner::host::LEARN, &Learned { replica: replica.clone(), handle, here }).await
        };
        if let Err(error) = told.await {
            console_warn!("the host object was not told of a replica: {error}");
        }
    }
}

fn chunks(export: Export<Database>) -> impl futures_util::Stream<Item = Result<Vec<u8>>> {
    stream::try_unfold(export, |mut export| async move {
        match export.next_chunk() {
            Ok(chunk) => Ok(chunk.map(|chunk| (chunk, export))),
            Err(error) => {
                console_error!("an export broke off: {error}");
                Err(failed(error))
            }
        }
    })
}

fn unanswered(why: Unanswered) -> Result<Response> {
    let response = Response::empty()?.with_status(204);
    response.headers().set(inner::UNANSWERED, why.as_str())?;
    Ok(response)
}
