//! `com.atproto.repo.*`: writing and reading records.
//!
//! Every write of records is prepared, put into one list and handed to [`crate::actor::Actors::apply_writes`]; only what it is made
//! of differs.

pub(super) mod blob;
pub(super) mod import;

use axum::http::HeaderMap;
use axum::response::Response;
use shared::api::repo::{
    ApplyWrites, ApplyWritesOutput, CommitMeta, CreateRecord, CreateRecordOutput, DeleteRecord, DeleteRecordOutput,
    DescribeRepoOutput, DescribeRepoParams, GetRecordOutput, GetRecordParams, ListRecordsOutput, ListRecordsParams,
    ListedRecord, PutRecord, PutRecordOutput, ValidationStatus, WriteOp, WriteResult,
};
use shared::cid::Cid;
use shared::data::Value;
use shared::repo::{ApplyError, MAX_OPS, Record, Swap, Write};
use shared::syntax::{AtIdentifier, AtUri, Did, Handle, Nsid, Path, RecordKey};
use shared::xrpc::refusal::Refusal;

use super::availability::available;
use super::call::{Answer, Call};
use super::input::{Json, Passable};
use super::output::{Public, public_json};
use crate::account::{Include, has_slur};
use crate::actor::prepare::{PrepareError, PreparedRecord, prepare_record};
use crate::actor::read::{self, Listing};
use crate::actor::{Committed, Prepared, WriteError};
use crate::app::App;
use crate::auth::{Caller, Reader, Standing};
use crate::db::DbError;
use crate::error::XrpcError;
use crate::time::next_tid;

/// com.atproto.repo.createRecord
pub(super) async fn create_record(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<CreateRecord>>,
) -> Answer<Json<CreateRecordOutput>> {
    let did = own_repo(&app, &caller, &input.repo).await?;
    let CreateRecord { collection, rkey, record, validate, swap_commit, .. } = input;
    let place = Place::new(&did, collection, rkey)?;
    let mut draft = place.draft(&app, record, validate, |path, record| Write::Create { path, record })?;
    draft.write.replaces_links = validate != Some(false);
    let commit = meta(apply(&app, &did, vec![draft.write], swap_commit).await?);
    Ok(Json(CreateRecordOutput { uri: draft.uri, cid: draft.cid, commit, validation_status: draft.status }))
}

/// com.atproto.repo.putRecord
pub(super) async fn put_record(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<PutRecord>>,
) -> Answer<Json<PutRecordOutput>> {
    let did = own_repo(&app, &caller, &input.repo).await?;
    let PutRecord { collection, rkey, record, validate, swap_record: swap, swap_commit, .. } = input;
    let place = Place::new(&did, collection, Some(rkey))?;
    let draft = place.draft(&app, record, validate, |path, record| Write::Put { path, record, swap })?;
    let commit = meta(apply(&app, &did, vec![draft.write], swap_commit).await?);
    Ok(Json(PutRecordOutput { uri: draft.uri, cid: draft.cid, commit, validation_status: draft.status }))
}

/// com.atproto.repo.deleteRecord
pub(super) async fn delete_record(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<DeleteRecord>>,
) -> Answer<Json<DeleteRecordOutput>> {
    let did = own_repo(&app, &caller, &input.repo).await?;
    let DeleteRecord { collection, rkey, swap_record, swap_commit, .. } = input;
    let write = deletion(Path::new(&collection, &rkey), swap_record.map_or(Swap::Any, Swap::Is));
    let commit = match apply(&app, &did, vec![write], swap_commit).await {
        // There is none: what was asked for is so.
        Err(WriteError::Apply(ApplyError::RecordMissing(_))) => None,
        applied => meta(applied?),
    };
    Ok(Json(DeleteRecordOutput { commit }))
}

/// com.atproto.repo.applyWrites
pub(super) async fn apply_writes(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<ApplyWrites>>,
) -> Answer<Json<ApplyWritesOutput>> {
    let did = own_repo(&app, &caller, &input.repo).await?;
    let ApplyWrites { validate, writes: ops, swap_commit, .. } = input;
    if ops.len() > MAX_OPS {
        return Err(ApplyError::TooManyWrites(ops.len()).into());
    }
    let drafts = ops.into_iter().enumerate().map(|(nth, op)| draft_op(&app, &did, nth, op, validate));
    let (writes, results): (Vec<_>, Vec<_>) = drafts.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let commit = meta(apply(&app, &did, writes, swap_commit).await?);
    Ok(Json(ApplyWritesOutput { commit, results: Some(results) }))
}

/// com.atproto.repo.getRecord
///
/// What is not here is the application view's to show, if there is one.
pub(super) async fn get_record(
    Call { app, params, input: Passable(asked), .. }: Call<(), GetRecordParams, Passable>,
) -> Answer<Response> {
    let GetRecordParams { repo, collection, rkey, cid } = params;
    let account = app.accounts().by_identifier(&repo, Include::ACTIVE).await?;
    let Some(account) = account else {
        let place = GetRecordParams { repo, collection, rkey, cid };
        return record_elsewhere(&app, &place, asked).await;
    };
    let uri = AtUri::record(&account.did, &collection, &rkey);
    let store = app.actors().store(&account.did).await?;
    let record = store.db()?.read_short(|connection| read::record(connection, &uri, cid.as_ref()))?;
    let record = record.ok_or_else(|| Refusal::record_not_found(&uri))?;
    let output = GetRecordOutput { uri: record.uri, cid: Some(record.cid), value: record.value };
    Ok(public_json(output.to_json().map_err(XrpcError::internal)?))
}

/// A record of a repository that is elsewhere, as the application view shows it.
async fn record_elsewhere(app: &App, place: &GetRecordParams, asked: HeaderMap) -> Answer<Response> {
    let Some(view) = &app.config().services.app_view else {
        return Err(XrpcError::invalid_request("Could not locate record"));
    };
    let (repo, cid) = (place.repo.to_string(), place.cid.as_ref().map(ToString::to_string));
    let mut params =
        vec![("repo", repo.as_str()), ("collection", place.collection.as_str()), ("rkey", place.rkey.as_str())];
    params.extend(cid.as_ref().map(|cid| ("cid", cid.as_str())));
    app.pipethrough().query(&view.remote.url, "com.atproto.repo.getRecord", &params, asked).await
}

/// com.atproto.repo.listRecords
pub(super) async fn list_records(Call { app, params, .. }: Call<(), ListRecordsParams>) -> Answer<Response> {
    let ListRecordsParams { repo, collection, limit, cursor, reverse } = params;
    let account = app.accounts().by_identifier(&repo, Include::ACTIVE).await?;
    let account = account.ok_or_else(|| Refusal::no_repo_to_list(&repo))?;
    let listing = Listing { collection, limit: limit.get().into(), cursor, reverse };
    let store = app.actors().store(&account.did).await?;
    let records = store.db()?.read_short(|connection| read::list_records(connection, &account.did, &listing))?;
    let cursor = records.last().and_then(|last| last.uri.rkey()).map(|rkey| rkey.as_str().to_owned());
    let records =
        records.into_iter().map(|record| ListedRecord { uri: record.uri, cid: record.cid, value: record.value });
    let output = ListRecordsOutput { cursor, records: records.collect() };
    Ok(public_json(output.to_json().map_err(XrpcError::internal)?))
}

/// com.atproto.repo.describeRepo
pub(super) async fn describe_repo(
    Call { app, params, .. }: Call<(), DescribeRepoParams>,
) -> Answer<Public<DescribeRepoOutput>> {
    let account = available(&app, &params.repo, &Reader::Anybody).await?;
    let unresolved = || XrpcError::invalid_request(format!("Could not resolve DID: {}", account.did));
    let document = app.identity().resolve_did(&account.did).await.map_err(|error| unresolved().caused_by(error))?;
    let document = document.ok_or_else(unresolved)?;
    let did_doc = super::document_json(&document).ok_or_else(unresolved)?;
    let store = app.actors().store(&account.did).await?;
    let collections = store.db()?.read_short(read::collections)?;
    Ok(Public(DescribeRepoOutput {
        handle_is_correct: account.handle.is_some() && document.handle() == account.handle,
        handle: account.handle.unwrap_or_else(Handle::invalid),
        did: account.did,
        did_doc,
        collections: collections.iter().filter_map(|collection| Nsid::parse(collection).ok()).collect(),
    }))
}

/// The caller's own repository, which `repo` must mean, if its account may write.
async fn own_repo(app: &App, caller: &Caller, repo: &AtIdentifier) -> Result<Did, XrpcError> {
    app.announcements().catch_up().await?;
    let account = Standing::ACTIVE.check(app.accounts().by_identifier(repo, Include::ALL).await?)?;
    if account.did == caller.did { Ok(account.did) } else { Err(XrpcError::authentication_required()) }
}

/// Where a record is to be.
struct Place<'a> {
    did: &'a Did,
    collection: Nsid,
    rkey: RecordKey,
}

/// A write of a record, and what its writer is told of it.
struct Draft {
    write: Prepared,
    uri: AtUri,
    cid: Cid,
    status: Option<ValidationStatus>,
}

impl<'a> Place<'a> {
    /// The place that the client chose, else one of its own. What the server makes is not looked through: it says nothing,
    /// and about one in a million times holds letters that would be refused.
    fn new(did: &'a Did, collection: Nsid, rkey: Option<RecordKey>) -> Result<Self, PrepareError> {
        let rkey = match rkey {
            Some(rkey) if has_slur(rkey.as_str()) => return Err(PrepareError::Slur),
            Some(rkey) => rkey,
            None => next_tid().into(),
        };
        Ok(Self { did, collection, rkey })
    }

    /// Prepares `record` for this place, to be written by `write`.
    fn draft(
        &self,
        app: &App,
        record: Value,
        validate: Option<bool>,
        write: impl FnOnce(Path, Record) -> Write,
    ) -> Result<Draft, PrepareError> {
        let Self { did, collection, rkey } = self;
        let PreparedRecord { record, blobs, backlinks, status } =
            prepare_record(app.catalog(), collection, rkey, record, validate)?;
        let (uri, cid) = (AtUri::record(did, collection, rkey), record.cid.clone());
        let write = write(Path::new(collection, rkey), record);
        Ok(Draft { write: Prepared { write, blobs, backlinks, replaces_links: false }, uri, cid, status })
    }
}

/// Prepares one write of a batch, the one at `nth` place.
fn draft_op(
    app: &App,
    did: &Did,
    nth: usize,
    op: WriteOp,
    validate: Option<bool>,
) -> Result<(Prepared, WriteResult), XrpcError> {
    let (place, value, creates) = match op {
        WriteOp::Create { collection, rkey, value } => (Place::new(did, collection, rkey)?, value, true),
        WriteOp::Update { collection, rkey, value } => (Place::new(did, collection, Some(rkey))?, value, false),
        WriteOp::Delete { collection, rkey } => {
            return Ok((deletion(Path::new(&collection, &rkey), Swap::Any), WriteResult::Delete {}));
        }
    };
    let drafted = place.draft(app, value, validate, |path, record| match creates {
        true => Write::Create { path, record },
        false => Write::Update { path, record, swap: Swap::Any },
    });
    let Draft { write, uri, cid, status } = drafted.map_err(|error| match error {
        PrepareError::Lexicon(error) => error.within(["writes".into(), nth.into(), "record".into()]).into(),
        error => error,
    })?;
    let result = match creates {
        true => WriteResult::Create { uri, cid, validation_status: status },
        false => WriteResult::Update { uri, cid, validation_status: status },
    };
    Ok((write, result))
}

fn deletion(path: Path, swap: Swap) -> Prepared {
    Prepared { write: Write::Delete { path, swap }, blobs: Vec::new(), backlinks: Vec::new(), replaces_links: false }
}

/// Hands writes over, to be made if the account still takes them when their turn comes.
async fn apply(
    app: &App,
    did: &Did,
    writes: Vec<Prepared>,
    swap_commit: Option<Cid>,
) -> Result<Option<Committed>, WriteError> {
    let committed = app.actors().apply_writes(did, writes, swap_commit, is_active(app, did)).await?;
    if committed.is_some() {
        app.feed().told(did).await;
    }
    Ok(committed)
}

/// Whether an account is active when its turn comes. Blocks.
fn is_active(app: &App, did: &Did) -> impl Fn() -> Result<bool, DbError> + Send + 'static {
    let (accounts, did) = (app.accounts().clone(), did.clone());
    move || accounts.is_active_blocking(&did)
}

fn meta(committed: Option<Committed>) -> Option<CommitMeta> {
    committed.map(|committed| CommitMeta { cid: committed.head.commit, rev: committed.head.rev })
}
