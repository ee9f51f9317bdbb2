//! `com.atproto.repo.*`: reading and writing records and blobs.
//!
//! `importRepo` takes a CAR file and `uploadBlob` takes the blob itself, so neither has an input here. See
//! <https://atproto.com/specs/repository> and <https://atproto.com/specs/blob>.

use serde::{Deserialize, Serialize};

use super::{Limit, not_null};
use crate::cbor::{CborError, Encoded, append_text};
use crate::cid::Cid;
use crate::data::{BlobRef, Value};
use crate::repo::Swap;
use crate::syntax::{AtIdentifier, AtUri, Did, Handle, Nsid, RecordKey, Tid};

/// The commit that a write made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMeta {
    /// The commit's CID.
    pub cid: Cid,
    /// Its revision.
    pub rev: Tid,
}

/// What is known about a written record's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidationStatus {
    /// The schema is known, and the record satisfies it.
    Valid,
    /// The schema is not known.
    Unknown,
}

/// Input of `com.atproto.repo.createRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateRecord {
    /// Whose repository; must be the caller's.
    pub repo: AtIdentifier,
    /// Where the record goes.
    pub collection: Nsid,
    /// Its key; the server makes one if there is none.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub rkey: Option<RecordKey>,
    /// True: the schema must be known. False: do not validate. None: validate if the schema is known.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub validate: Option<bool>,
    /// The record.
    pub record: Value,
    /// The commit that the repository must be at.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub swap_commit: Option<Cid>,
}

/// Output of `com.atproto.repo.createRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateRecordOutput {
    /// The record's address.
    pub uri: AtUri,
    /// The record's CID.
    pub cid: Cid,
    /// The commit; none if nothing had to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitMeta>,
    /// None if the client asked for no validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_status: Option<ValidationStatus>,
}

/// Input of `com.atproto.repo.putRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PutRecord {
    /// Whose repository; must be the caller's.
    pub repo: AtIdentifier,
    /// Where the record goes.
    pub collection: Nsid,
    /// Its key.
    pub rkey: RecordKey,
    /// True: the schema must be known. False: do not validate. None: validate if the schema is known.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub validate: Option<bool>,
    /// The record.
    pub record: Value,
    /// What must stand there now: left out says anything, null says nothing, a CID says that record.
    #[serde(default, with = "swap_record", skip_serializing_if = "swap_record::is_any")]
    pub swap_record: Swap,
    /// The commit that the repository must be at.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub swap_commit: Option<Cid>,
}

/// Output of `com.atproto.repo.putRecord`.
pub type PutRecordOutput = CreateRecordOutput;

/// Input of `com.atproto.repo.deleteRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRecord {
    /// Whose repository; must be the caller's.
    pub repo: AtIdentifier,
    /// Where the record is.
    pub collection: Nsid,
    /// Its key.
    pub rkey: RecordKey,
    /// The record that must stand there now.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub swap_record: Option<Cid>,
    /// The commit that the repository must be at.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub swap_commit: Option<Cid>,
}

/// Output of `com.atproto.repo.deleteRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRecordOutput {
    /// The commit; none if there was no such record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitMeta>,
}

/// Input of `com.atproto.repo.applyWrites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyWrites {
    /// Whose repository; must be the caller's.
    pub repo: AtIdentifier,
    /// As in [`CreateRecord`], for all writes.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub validate: Option<bool>,
    /// The writes, all applied in one commit or none.
    pub writes: Vec<WriteOp>,
    /// The commit that the repository must be at.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub swap_commit: Option<Cid>,
}

/// One write of `com.atproto.repo.applyWrites`. A closed union: another `$type` is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "$type", try_from = "WriteFields")]
pub enum WriteOp {
    /// A new record.
    #[serde(rename = "com.atproto.repo.applyWrites#create")]
    Create {
        /// Where the record goes.
        collection: Nsid,
        /// Its key; the server makes one if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        rkey: Option<RecordKey>,
        /// The record.
        value: Value,
    },
    /// A record in place of one that is there.
    #[serde(rename = "com.atproto.repo.applyWrites#update")]
    Update {
        /// Where the record is.
        collection: Nsid,
        /// Its key.
        rkey: RecordKey,
        /// The record.
        value: Value,
    },
    /// The end of a record.
    #[serde(rename = "com.atproto.repo.applyWrites#delete")]
    Delete {
        /// Where the record is.
        collection: Nsid,
        /// Its key.
        rkey: RecordKey,
    },
}

/// A [`WriteOp`] as it is read. The fields of all three, because choosing by `$type` while reading would buffer each
/// record in a form that [`Value`] cannot be read from.
#[derive(Deserialize)]
struct WriteFields {
    #[serde(rename = "$type")]
    kind: String,
    collection: Nsid,
    rkey: Option<RecordKey>,
    value: Option<Value>,
}

/// Why an element of `writes` is no write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum WriteOpError {
    #[error("action not supported: {0}")]
    Kind(String),
    #[error("missing field `{0}`")]
    Missing(&'static str),
}

impl TryFrom<WriteFields> for WriteOp {
    type Error = WriteOpError;

    fn try_from(fields: WriteFields) -> Result<Self, WriteOpError> {
        let WriteFields { kind, collection, rkey, value } = fields;
        let needed_rkey = rkey.clone().ok_or(WriteOpError::Missing("rkey"));
        let needed_value = value.ok_or(WriteOpError::Missing("value"));
        match kind.as_str() {
            "com.atproto.repo.applyWrites#create" => Ok(Self::Create { collection, rkey, value: needed_value? }),
            "com.atproto.repo.applyWrites#update" => {
                Ok(Self::Update { collection, rkey: needed_rkey?, value: needed_value? })
            }
            "com.atproto.repo.applyWrites#delete" => Ok(Self::Delete { collection, rkey: needed_rkey? }),
            _ => Err(WriteOpError::Kind(kind)),
        }
    }
}

/// Output of `com.atproto.repo.applyWrites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyWritesOutput {
    /// The commit; none if nothing had to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitMeta>,
    /// What came of each write, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<WriteResult>>,
}

/// What came of one write of `com.atproto.repo.applyWrites`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "$type", rename_all_fields = "camelCase")]
pub enum WriteResult {
    /// A new record.
    #[serde(rename = "com.atproto.repo.applyWrites#createResult")]
    Create {
        /// The record's address.
        uri: AtUri,
        /// The record's CID.
        cid: Cid,
        /// None if the client asked for no validation.
        #[serde(skip_serializing_if = "Option::is_none")]
        validation_status: Option<ValidationStatus>,
    },
    /// A replaced record.
    #[serde(rename = "com.atproto.repo.applyWrites#updateResult")]
    Update {
        /// The record's address.
        uri: AtUri,
        /// The record's CID.
        cid: Cid,
        /// None if the client asked for no validation.
        #[serde(skip_serializing_if = "Option::is_none")]
        validation_status: Option<ValidationStatus>,
    },
    /// A deleted record.
    #[serde(rename = "com.atproto.repo.applyWrites#deleteResult")]
    Delete {},
}

/// Parameters of `com.atproto.repo.describeRepo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeRepoParams {
    /// Whose repository.
    pub repo: AtIdentifier,
}

/// Output of `com.atproto.repo.describeRepo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeRepoOutput {
    /// The account's handle, or `handle.invalid`.
    pub handle: Handle,
    /// The account.
    pub did: Did,
    /// Its DID document.
    pub did_doc: Value,
    /// The collections that hold a record.
    pub collections: Vec<Nsid>,
    /// Whether handle and DID document name each other.
    pub handle_is_correct: bool,
}

/// Parameters of `com.atproto.repo.getRecord`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRecordParams {
    /// Whose repository.
    pub repo: AtIdentifier,
    /// Where the record is.
    pub collection: Nsid,
    /// Its key.
    pub rkey: RecordKey,
    /// The version that is wanted; the present one if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<Cid>,
}

/// Output of `com.atproto.repo.getRecord`. A server may leave the record encoded ([`Encoded`]), and writes it by
/// [`Self::to_json`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRecordOutput<V = Value> {
    /// The record's address.
    pub uri: AtUri,
    /// The record's CID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cid: Option<Cid>,
    /// The record.
    pub value: V,
}

impl GetRecordOutput<Encoded> {
    /// The output as JSON, its fields in the order above.
    ///
    /// # Errors
    /// When the record cannot be decoded.
    pub fn to_json(&self) -> Result<Vec<u8>, CborError> {
        let mut out = Vec::with_capacity(self.value.0.len() * 3 / 2 + 256);
        append_record(&self.uri, self.cid.as_ref(), &self.value, &mut out)?;
        Ok(out)
    }
}

impl ListRecordsOutput<Encoded> {
    /// As [`GetRecordOutput::to_json`].
    ///
    /// # Errors
    /// When a record cannot be decoded.
    pub fn to_json(&self) -> Result<Vec<u8>, CborError> {
        let len: usize = self.records.iter().map(|record| record.value.0.len() * 3 / 2 + 256).sum();
        let mut out = Vec::with_capacity(len + 64);
        out.push(b'{');
        if let Some(cursor) = &self.cursor {
            out.extend_from_slice(b"\"cursor\":");
            append_text(cursor, &mut out);
            out.push(b',');
        }
        out.extend_from_slice(b"\"records\":[");
        for (nth, ListedRecord { uri, cid, value }) in self.records.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            append_record(uri, Some(cid), value, &mut out)?;
        }
        out.extend_from_slice(b"]}");
        Ok(out)
    }
}

fn append_record(uri: &AtUri, cid: Option<&Cid>, value: &Encoded, out: &mut Vec<u8>) -> Result<(), CborError> {
    out.extend_from_slice(b"{\"uri\":");
    append_text(uri.as_str(), out);
    if let Some(cid) = cid {
        out.extend_from_slice(b",\"cid\":\"");
        out.extend_from_slice(cid.to_string().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"value\":");
    value.append_json(out)?;
    out.push(b'}');
    Ok(())
}

/// Parameters of `com.atproto.repo.listRecords`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRecordsParams {
    /// Whose repository.
    pub repo: AtIdentifier,
    /// The collection.
    pub collection: Nsid,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<50, 100>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Whether keys ascend; otherwise they descend, newest first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reverse: bool,
}

/// Output of `com.atproto.repo.listRecords`. A server may leave the records encoded ([`Encoded`]), and writes them by
/// [`Self::to_json`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRecordsOutput<V = Value> {
    /// Where this page ended; none if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The page.
    pub records: Vec<ListedRecord<V>>,
}

/// A record of `com.atproto.repo.listRecords`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRecord<V = Value> {
    /// The record's address.
    pub uri: AtUri,
    /// The record's CID.
    pub cid: Cid,
    /// The record.
    pub value: V,
}

/// Parameters of `com.atproto.repo.listMissingBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMissingBlobsParams {
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<500, 1000>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Output of `com.atproto.repo.listMissingBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMissingBlobsOutput {
    /// Where this page ended; none if it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The page.
    pub blobs: Vec<RecordBlob>,
}

/// A blob that a record refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordBlob {
    /// The blob.
    pub cid: Cid,
    /// The record.
    pub record_uri: AtUri,
}

/// Output of `com.atproto.repo.uploadBlob`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadBlobOutput {
    /// The reference to put into a record.
    #[serde(with = "blob")]
    pub blob: BlobRef,
}

/// The one field whose absence and null mean different things.
mod swap_record {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::cid::Cid;
    use crate::repo::Swap;

    pub(super) fn is_any(swap: &Swap) -> bool {
        *swap == Swap::Any
    }

    pub(super) fn serialize<S: Serializer>(swap: &Swap, serializer: S) -> Result<S::Ok, S::Error> {
        match swap {
            Swap::Any | Swap::Absent => serializer.serialize_none(),
            Swap::Is(cid) => cid.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Swap, D::Error> {
        Ok(Option::<Cid>::deserialize(deserializer)?.map_or(Swap::Absent, Swap::Is))
    }
}

/// A blob reference in the shape that records hold it in.
mod blob {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

    use crate::data::{BlobRef, Map};

    pub(super) fn serialize<S: Serializer>(blob: &BlobRef, serializer: S) -> Result<S::Ok, S::Error> {
        let value = blob.to_value().ok_or_else(|| ser::Error::custom("blob is larger than an integer"))?;
        value.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BlobRef, D::Error> {
        let map = Map::deserialize(deserializer)?;
        BlobRef::from_map(&map).ok_or_else(|| de::Error::custom("not a blob reference"))
    }
}
