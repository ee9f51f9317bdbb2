//! Reads go out, with the origin's bytes.

use std::rc::Rc;

use bytes::Bytes;
use shared::api::repo::{
    DescribeRepoOutput, GetRecordOutput, GetRecordParams, ListRecordsOutput, ListRecordsParams, ListedRecord,
};
use shared::api::sync::{
    self, GetHeadOutput, GetLatestCommitOutput, GetRepoStatusOutput, ListBlobsOutput, ListBlobsParams,
};
use shared::cbor::Encoded;
use shared::cid::Cid;
use shared::data::json;
use shared::identity::DidDocument;
use shared::link::State;
use shared::repo::mst::Tree;
use shared::repo::{Block, Head, car};
use shared::syntax::{AtIdentifier, AtUri, Did, Handle, Nsid, RecordKey};
use shared::xrpc::refusal::Refusal;

use super::export::{Blocks, CarBody};
use super::{Held, Phase, Replica, ReplicaError, taken_down};
use crate::answer::Answer;
use crate::read::Read;
use crate::sql::{Columns, Sql, Value};

/// What comes of a read.
#[derive(Debug)]
pub enum Outcome<T> {
    /// This.
    Answer(T),
    /// The origin answers: it may know what is not here.
    Forward,
}

/// What a blob is served by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It is public.
    Open {
        /// Its media type.
        mime_type: String,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not.
    Refused(Refusal),
}

/// What is held of an account, and its state.
type Served = (Rc<Held>, Rc<State>);

/// How many rows a list reads at a time, when some are passed over.
const PAGE: u64 = 100;

impl<S: Sql> Replica<S> {
    /// Answers a read, if it is one of this account and can be answered from here. Whether the replica is fresh enough is
    /// [`Replica::judge`]'s.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn read(&self, read: &Read) -> Result<Outcome<Answer<CarBody<S>>>, ReplicaError> {
        let Some((held, state)) = self.served(&read.account())? else { return Ok(Outcome::Forward) };
        let answer = match self.answer(read, &held, &state)? {
            Some(answer) => answer,
            None => return Ok(Outcome::Forward),
        };
        Ok(Outcome::Answer(if read.is_private_to_caches() { answer.private() } else { answer }))
    }

    /// Whether a blob of this account is public.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn blob(&self, cid: &Cid) -> Result<Outcome<Gate>, ReplicaError> {
        let Some((held, state)) = self.serving()? else { return Ok(Outcome::Forward) };
        if let Some(status) = &state.status {
            let refusal = Refusal::unavailable(&held.account.clone().into(), status);
            return Ok(refusal.map_or(Outcome::Forward, |refusal| Outcome::Answer(Gate::Refused(refusal))));
        }
        let refused = || Ok(Outcome::Answer(Gate::Refused(Refusal::blob_not_found())));
        if state.taken_down_blobs.contains(cid) {
            return refused();
        }
        let rows = self.sql.exec("SELECT mime_type, size FROM blob WHERE cid = ?", vec![cid.to_string().into()])?;
        let Some(row) = rows.into_iter().next() else { return refused() };
        let mut row = Columns::of(row);
        Ok(Outcome::Answer(Gate::Open { mime_type: row.text()?, size: row.number()? }))
    }

    /// Whose handle it is, if it is this account's and the account is served.
    ///
    /// # Errors
    /// A [`ReplicaError`].
    pub fn well_known(&self, handle: &Handle) -> Result<Option<Did>, ReplicaError> {
        let Some((held, state)) = self.served(&handle.clone().into())? else { return Ok(None) };
        Ok(Some(held.account.clone()).filter(|_| state.status.is_none()))
    }

    /// What is held, if it can be answered from.
    fn serving(&self) -> Result<Option<Served>, ReplicaError> {
        let held = self.held()?.filter(|held| held.phase == Phase::Serving);
        Ok(held.and_then(|held| held.state.clone().map(|state| (held, state))))
    }

    /// The same, if it is of the account that is meant.
    fn served(&self, account: &AtIdentifier) -> Result<Option<Served>, ReplicaError> {
        let meant = |(held, state): &Served| match account {
            AtIdentifier::Did(did) => *did == held.account,
            AtIdentifier::Handle(handle) => state.handle.as_ref() == Some(handle),
        };
        Ok(self.serving()?.filter(meant))
    }

    /// `None` for what the origin has to answer.
    fn answer(&self, read: &Read, held: &Held, state: &State) -> Result<Option<Answer<CarBody<S>>>, ReplicaError> {
        if let Some(status) = &state.status {
            let account = read.account();
            return Ok(match read {
                // The application view's to show.
                Read::Record(_) => None,
                Read::List(_) => Some(refused(&Refusal::no_repo_to_list(&account))),
                Read::Status(params) => json_answer(&GetRepoStatusOutput {
                    did: params.did.clone(),
                    active: false,
                    status: Some(status.clone()),
                    rev: None,
                }),
                _ => Refusal::unavailable(&account, status).map(|refusal| refused(&refusal)),
            });
        }
        let Some(head) = &held.head else { return Ok(None) };
        Ok(match read {
            Read::Record(params) => self.record_at(held, state, params)?,
            Read::List(params) => self.list(held, state, params)?,
            Read::Describe(_) => self.describe(held, state)?,
            Read::Proof(params) => Some(self.proof(head, params)?),
            Read::Blocks(params) => Some(self.blocks(&params.cids)?),
            Read::Head(_) => json_answer(&GetHeadOutput { root: head.commit.clone() }),
            Read::LatestCommit(_) => json_answer(&GetLatestCommitOutput { cid: head.commit.clone(), rev: head.rev }),
            Read::Repo(_) => {
                let export = CarBody::Repo(Box::new(self.export(head)?));
                Some(Answer::car_of_any_length(Some(head.rev.as_str()), export))
            }
            Read::Status(params) => json_answer(&GetRepoStatusOutput {
                did: params.did.clone(),
                active: true,
                status: None,
                rev: Some(head.rev),
            }),
            Read::Blobs(params) => self.blobs(params)?,
        })
    }

    fn record_at(
        &self,
        held: &Held,
        state: &State,
        params: &GetRecordParams,
    ) -> Result<Option<Answer<CarBody<S>>>, ReplicaError> {
        let GetRecordParams { collection, rkey, cid, .. } = params;
        let uri = AtUri::record(&held.account, collection, rkey);
        let path = format!("{collection}/{rkey}");
        let rows = self.sql.exec(
            "SELECT record.cid, block.bytes FROM record LEFT JOIN block ON block.cid = record.cid
             WHERE collection = ? AND rkey = ?",
            vec![collection.as_str().into(), rkey.as_str().into()],
        )?;
        let found = rows.into_iter().next().filter(|_| !taken_down(state).contains(path.as_str()));
        let Some(row) = found else { return Ok(Some(refused(&Refusal::record_not_found(&uri)))) };
        let mut row = Columns::of(row);
        let found = row.cid()?;
        let bytes = row.optional_bytes()?.ok_or_else(|| ReplicaError::Damaged(found.clone()))?;
        if cid.as_ref().is_some_and(|cid| *cid != found) {
            return Ok(Some(refused(&Refusal::record_not_found(&uri))));
        }
        let output = GetRecordOutput { uri, cid: Some(found), value: Encoded(bytes.into()) };
        Ok(output.to_json().ok().map(json_text))
    }

    fn list(
        &self,
        held: &Held,
        state: &State,
        params: &ListRecordsParams,
    ) -> Result<Option<Answer<CarBody<S>>>, ReplicaError> {
        let ListRecordsParams { collection, limit, cursor, reverse, .. } = params;
        let taken_down = taken_down(state);
        let limit = usize::from(limit.get());
        // Keys are between nothing and the last byte that no key reaches.
        let (mut above, mut below) = (String::new(), "\u{7f}".to_owned());
        if let Some(cursor) = cursor {
            *(if *reverse { &mut above } else { &mut below }) = cursor.clone();
        }
        let statement = if *reverse {
            "SELECT rkey, record.cid, bytes FROM record LEFT JOIN block ON block.cid = record.cid
             WHERE collection = ? AND rkey > ? AND rkey < ? ORDER BY rkey ASC LIMIT ?"
        } else {
            "SELECT rkey, record.cid, bytes FROM record LEFT JOIN block ON block.cid = record.cid
             WHERE collection = ? AND rkey > ? AND rkey < ? ORDER BY rkey DESC LIMIT ?"
        };
        let mut records = Vec::new();
        while records.len() < limit {
            let wanted = if taken_down.is_empty() { limit as u64 } else { PAGE };
            let parameters: Vec<Value> =
                vec![collection.as_str().into(), above.as_str().into(), below.as_str().into(), wanted.into()];
            let rows = self.sql.exec(statement, parameters)?;
            let last = (rows.len() as u64) < wanted;
            for row in rows {
                let mut row = Columns::of(row);
                let (rkey, cid, bytes) = (row.text()?, row.cid()?, row.optional_bytes()?);
                if *reverse {
                    above.clone_from(&rkey)
                } else {
                    below.clone_from(&rkey)
                };
                let passed = records.len() == limit || taken_down.contains(format!("{collection}/{rkey}").as_str());
                // A key that is none any more cannot be addressed either.
                let Some(rkey) = RecordKey::parse(&rkey).ok().filter(|_| !passed) else { continue };
                let uri = AtUri::record(&held.account, collection, &rkey);
                let bytes = bytes.ok_or_else(|| ReplicaError::Damaged(cid.clone()))?;
                records.push((rkey, ListedRecord { uri, cid, value: Encoded(bytes.into()) }));
            }
            if last {
                break;
            }
        }
        let cursor = records.last().map(|(rkey, _)| rkey.as_str().to_owned());
        let records = records.into_iter().map(|(_, record)| record).collect();
        Ok(ListRecordsOutput { cursor, records }.to_json().ok().map(json_text))
    }

    fn describe(&self, held: &Held, state: &State) -> Result<Option<Answer<CarBody<S>>>, ReplicaError> {
        let Some(text) = &state.did_document else { return Ok(None) };
        let document = serde_json::from_str(text).ok().and_then(|json| DidDocument::parse(&held.account, json).ok());
        let (Some(document), Ok(did_doc)) = (document, json::parse(text.as_bytes())) else { return Ok(None) };
        let rows = self.sql.exec(
            "WITH RECURSIVE next (collection) AS (
               SELECT min(collection) FROM record
               UNION ALL
               SELECT (SELECT min(collection) FROM record WHERE collection > next.collection)
               FROM next WHERE next.collection IS NOT NULL)
             SELECT collection FROM next WHERE collection IS NOT NULL",
            Vec::new(),
        )?;
        let mut collections = Vec::new();
        for row in rows {
            collections.extend(Nsid::parse(&Columns::of(row).text()?));
        }
        Ok(json_answer(&DescribeRepoOutput {
            handle_is_correct: state.handle.is_some() && document.handle() == state.handle,
            handle: state.handle.clone().unwrap_or_else(Handle::invalid),
            did: held.account.clone(),
            did_doc,
            collections,
        }))
    }

    fn proof(&self, head: &Head, params: &sync::GetRecordParams) -> Result<Answer<CarBody<S>>, ReplicaError> {
        let required = |cid: &Cid| -> Result<Block, ReplicaError> {
            let bytes = self.block(cid)?.ok_or_else(|| ReplicaError::Damaged(cid.clone()))?;
            Ok(Block { cid: cid.clone(), bytes: Bytes::from(bytes) })
        };
        let blocks = Blocks(Rc::clone(&self.sql));
        let mut tree = Tree::open(&blocks, head.data.clone());
        let key = format!("{}/{}", params.collection, params.rkey);
        let mut proof = vec![required(&head.commit)?];
        proof.extend(tree.proof(&key)?);
        if let Some(record) = tree.get(&key)? {
            proof.push(required(&record)?);
        }
        Ok(Answer::car(head.rev.as_str(), car::to_vec(&head.commit, &proof)).map(CarBody::Whole))
    }

    fn blocks(&self, cids: &[Cid]) -> Result<Answer<CarBody<S>>, ReplicaError> {
        let tag = match cids {
            [cid] => Some(cid.to_string()),
            _ => None,
        };
        let mut out = car::header(&[]);
        let (mut seen, mut missing) = (std::collections::HashSet::new(), Vec::new());
        for cid in cids.iter().filter(|cid| seen.insert((*cid).clone())) {
            match self.block(cid)? {
                Some(block) => car::section(cid, &block, &mut out),
                None => missing.push(cid.clone()),
            }
        }
        if !missing.is_empty() {
            return Ok(refused(&Refusal::blocks_not_found(&missing)));
        }
        Ok(Answer::car_of_any_length(tag.as_deref(), CarBody::Unsized(out)))
    }

    fn blobs(&self, params: &ListBlobsParams) -> Result<Option<Answer<CarBody<S>>>, ReplicaError> {
        let rows = self.sql.exec(
            "SELECT DISTINCT blob FROM reference WHERE blob > ? ORDER BY blob LIMIT ?",
            vec![params.cursor.as_deref().unwrap_or_default().into(), u64::from(params.limit.get()).into()],
        )?;
        let mut cids = Vec::new();
        for row in rows {
            cids.extend(Cid::parse(&Columns::of(row).text()?));
        }
        Ok(json_answer(&ListBlobsOutput { cursor: cids.last().map(ToString::to_string), cids }))
    }
}

/// `None` for what cannot be written: a damaged record, of which the origin says what there is to say.
fn json_answer<S>(output: &impl serde::Serialize) -> Option<Answer<CarBody<S>>> {
    Answer::json(output).map(|answer| answer.map(CarBody::Whole))
}

fn json_text<S>(json: Vec<u8>) -> Answer<CarBody<S>> {
    Answer::json_text(json).map(CarBody::Whole)
}

fn refused<S>(refusal: &Refusal) -> Answer<CarBody<S>> {
    Answer::refused(refusal).map(CarBody::Whole)
}
