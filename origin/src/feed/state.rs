//! What a replica knows of an account beside its repository, and how much it would have to hold.
//!
//! A state is read anew whenever it is told. Its version is read first: it is a row of the feed, and whatever that row
//! stands for was done before it could be read. So a state is never older than its version says.

use rusqlite::Connection;
use shared::cid::Cid;
use shared::link::State;
use shared::syntax::Did;

use super::{FeedError, Inner};
use crate::account::{Account, Include};
use crate::actor::ActorError;
use crate::actor::blobs::files::withdrawn;
use crate::db::DbError;
use crate::identity::document_json;

impl Inner {
    /// The account's state; `None` if there is no such account any more.
    pub(super) async fn state(&self, did: &Did) -> Result<Option<State>, FeedError> {
        self.log.made().await;
        let version = self.log.last(did).await?.0;
        let Some(account) = self.accounts.by_did(did, Include::ALL).await? else { return Ok(None) };
        let store = match self.actors.store(did).await {
            Err(ActorError::NotFound(_)) => return Ok(None),
            store => store?,
        };
        let status = account.status().reason();
        let (taken_down_records, taken_down_blobs, deleted_blobs) = store.db()?.read(taken_down).await?;
        let signing_key = store.key()?.public_key();
        let did_document = self.document(&account).await;
        let handle = account.handle;
        Ok(Some(State {
            version,
            status,
            handle,
            did_document,
            signing_key,
            taken_down_records,
            taken_down_blobs,
            deleted_blobs,
        }))
    }

    /// The document as answers hold it. Without one the edge forwards who asks for it.
    async fn document(&self, account: &Account) -> Option<String> {
        let document = self.identity.resolve_did(&account.did).await.ok()??;
        serde_json::to_string(&document_json(&document)?).ok()
    }

    /// How many bytes the blocks of a repository have; 0 if there is none.
    pub(super) async fn bytes(&self, did: &Did) -> Result<u64, FeedError> {
        let store = match self.actors.store(did).await {
            Err(ActorError::NotFound(_)) => return Ok(0),
            store => store?,
        };
        let sum = |connection: &Connection| -> Result<u64, DbError> {
            let sum: Option<i64> =
                connection.query_row(r#"SELECT sum("size") FROM "repo_block""#, [], |row| row.get(0))?;
            Ok(u64::try_from(sum.unwrap_or_default()).unwrap_or_default())
        };
        Ok(store.db()?.read(sum).await?)
    }
}

type TakenDown = (Vec<String>, Vec<Cid>, Vec<Cid>);

fn taken_down(connection: &Connection) -> Result<TakenDown, DbError> {
    let snapshot = connection.unchecked_transaction()?;
    let texts = |sql| -> Result<Vec<String>, DbError> {
        let mut statement = snapshot.prepare_cached(sql)?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
    };
    let records = texts(r#"SELECT "collection" || '/' || "rkey" FROM "record" WHERE "takedownRef" IS NOT NULL"#)?;
    let blobs = texts(r#"SELECT "cid" FROM "blob" WHERE "takedownRef" IS NOT NULL"#)?;
    let blobs = blobs.iter().filter_map(|cid| Cid::parse(cid).ok()).collect();
    Ok((records, blobs, withdrawn(&snapshot)?))
}
