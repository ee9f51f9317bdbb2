//! `com.atproto.repo.*`: blobs on their way in.

use shared::api::repo::{ListMissingBlobsOutput, ListMissingBlobsParams, RecordBlob, UploadBlobOutput};
use shared::syntax::Did;

use crate::actor::blobs;
use crate::auth::Caller;
use crate::xrpc::call::{Answer, Call};
use crate::xrpc::input::{Json, Upload};

/// com.atproto.repo.uploadBlob
pub(in crate::xrpc) async fn upload_blob(
    Call { app, caller: did, input: Upload { media_type, body }, .. }: Call<Did, (), Upload>,
) -> Answer<Json<UploadBlobOutput>> {
    let limit = app.config().limits.blob;
    let blob = app.actors().upload_blob(&did, body, &media_type, limit).await?;
    app.feed().told(&did).await;
    Ok(Json(UploadBlobOutput { blob }))
}

/// com.atproto.repo.listMissingBlobs
pub(in crate::xrpc) async fn list_missing_blobs(
    Call { app, caller, params, .. }: Call<Caller, ListMissingBlobsParams>,
) -> Answer<Json<ListMissingBlobsOutput>> {
    let ListMissingBlobsParams { limit, cursor } = params;
    let store = app.actors().store(&caller.did).await?;
    let missing =
        store.db()?.read(move |connection| blobs::missing(connection, cursor.as_deref(), limit.get().into())).await?;
    Ok(Json(ListMissingBlobsOutput {
        cursor: missing.last().map(|last| last.cid.to_string()),
        blobs: missing.into_iter().map(|blob| RecordBlob { cid: blob.cid, record_uri: blob.record }).collect(),
    }))
}
