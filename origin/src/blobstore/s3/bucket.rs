//! A bucket: one function for each call of S3 that is used here.
//!
//! What a second time of each call comes to, as it is asked again when an answer is lost, is said where it is made. An
//! answer counts as done only if it says so in S3's own words: whatever is at a wrong address may answer 200 to everything.
//! Of an answer that is read as it comes every pause is bounded.
//!
//! Specification: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>.

use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures_util::stream::{self, Stream};
use md5::{Digest as _, Md5};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::call::{Ask, Endpoint, Twice, in_time};
use super::error::S3Error;
use super::xml::{self, Listed, Parts, Uploads};
use crate::aws::encode_path;
use crate::config::S3;
use crate::fetch::ClientError;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

/// A bucket, and the right to use it.
#[derive(Debug)]
pub(super) struct Bucket {
    endpoint: Endpoint,
    name: String,
    /// How long a call may take.
    limit: Duration,
}

/// What is under a key, as far as it can be said without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// How many bytes.
    pub(super) size: u64,
    /// Of which type.
    pub(super) content_type: Option<String>,
}

/// The bytes under a key, on their way.
#[derive(Debug)]
pub(in crate::blobstore) struct Body {
    /// `None`: there are none.
    response: Option<Response>,
    /// How many are to come.
    left: u64,
    /// How long it may be silent.
    limit: Duration,
}

impl Bucket {
    pub(super) fn new(config: &S3) -> Result<Self, ClientError> {
        let endpoint = Endpoint::new(config)?;
        Ok(Self { endpoint, name: config.bucket.clone(), limit: config.request_timeout })
    }

    /// Puts bytes under a key. Twice is once: the same bytes.
    pub(super) async fn put(
        &self,
        key: &str,
        content_type: &str,
        body: Bytes,
        sha256: &[u8],
        limit: Duration,
    ) -> Result<(), S3Error> {
        let ask = Ask {
            headers: vec![(CONTENT_TYPE, content_type.to_owned())],
            body,
            sha256: HEXLOWER.encode(sha256),
            ..Ask::new(Method::PUT, key)
        };
        self.endpoint.call(ask, limit).await.map(drop)
    }

    /// Begins an upload in parts; what it is called. Twice is two, of which one stays.
    pub(super) async fn begin(&self, key: &str, content_type: &str, limit: Duration) -> Result<String, S3Error> {
        let ask = Ask {
            query: &[("uploads", "")],
            headers: vec![(CONTENT_TYPE, content_type.to_owned())],
            twice: Twice::Differs,
            ..Ask::new(Method::POST, key)
        };
        let (_, body) = self.endpoint.call(ask, limit).await?;
        xml::upload_id(&body).ok_or(S3Error::Answer("a name for the upload was expected"))
    }

    /// Puts one of the parts of an upload, which are counted from 1; its tag. Twice is once: the same bytes.
    pub(super) async fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        body: Bytes,
        sha256: &[u8],
        limit: Duration,
    ) -> Result<String, S3Error> {
        let ask = Ask {
            query: &[("partNumber", &number.to_string()), ("uploadId", upload)],
            body,
            sha256: HEXLOWER.encode(sha256),
            ..Ask::new(Method::PUT, key)
        };
        let (headers, _) = self.endpoint.call(ask, limit).await?;
        header(&headers, &ETAG).ok_or(S3Error::Answer("a tag of the part was expected"))
    }

    /// Makes one of the parts of an upload. Twice is none the second time: there is no such upload any more.
    pub(super) async fn complete(
        &self,
        key: &str,
        upload: &str,
        tags: &[String],
        limit: Duration,
    ) -> Result<(), S3Error> {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (nth, tag) in tags.iter().enumerate() {
            let tag = xml::escape(tag);
            body.push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", nth + 1));
        }
        body.push_str("</CompleteMultipartUpload>");
        let ask = Ask { query: &[("uploadId", upload)], twice: Twice::Differs, ..Ask::of(Method::POST, key, body) };
        self.endpoint.call_for("CompleteMultipartUploadResult", ask, limit).await
    }

    /// Ends an upload in parts; nothing of it stays. That there is none is no error.
    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        let ask = Ask { query: &[("uploadId", upload)], ..Ask::new(Method::DELETE, key) };
        none_is_fine(self.endpoint.call(ask, self.limit).await.map(drop))
    }

    /// Copies what is under a key to another, with its type, within the store. Twice is once: the same bytes.
    pub(super) async fn copy(&self, from: &str, to: &str, limit: Duration) -> Result<(), S3Error> {
        let source = format!("/{}/{}", self.name, encode_path(from));
        let ask = Ask { headers: vec![(COPY_SOURCE, source)], ..Ask::new(Method::PUT, to) };
        self.endpoint.call_for("CopyObjectResult", ask, limit).await
    }

    /// What is under a key; `None` if there is nothing.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>, S3Error> {
        match self.endpoint.call(Ask::new(Method::HEAD, key), self.limit).await {
            Ok((headers, _)) => {
                let size = header(&headers, &CONTENT_LENGTH).and_then(|length| length.parse().ok());
                let size = size.ok_or(S3Error::Answer("a length was expected"))?;
                Ok(Some(Head { size, content_type: header(&headers, &CONTENT_TYPE) }))
            }
            // There is no body to say of what there is none: the key, or the bucket.
            Err(S3Error::Refused { status: StatusCode::NOT_FOUND, .. }) => {
                let mut ask = Ask::new(Method::GET, key);
                ask.headers.push((RANGE, "bytes=0-0".to_owned()));
                match self.endpoint.call(ask, self.limit).await {
                    Err(error) if error.is_no_such_key() => Ok(None),
                    Err(error) => Err(error),
                    Ok(_) => Err(S3Error::Answer("the same of a key each time was expected")),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a part of what is under a key, or all of it, which is to be `size` bytes long. `None` if there is nothing.
    pub(super) async fn get(&self, key: &str, size: u64, wanted: &Range<u64>) -> Result<Option<Body>, S3Error> {
        if wanted.is_empty() {
            let head = self.head(key).await?;
            if head.as_ref().is_some_and(|head| head.size != size) {
                return Err(S3Error::Answer("as many bytes as the blob has were expected"));
            }
            return Ok(head.map(|_| Body { response: None, left: 0, limit: self.limit }));
        }
        let mut ask = Ask::new(Method::GET, key);
        let whole = *wanted == (0..size);
        if !whole {
            ask.headers.push((RANGE, format!("bytes={}-{}", wanted.start, wanted.end.saturating_sub(1))));
        }
        let response = match self.endpoint.open(&ask, self.limit).await {
            Err(error) if error.is_no_such_key() => return Ok(None),
            sent => sent?,
        };
        let left = wanted.end.saturating_sub(wanted.start);
        let expected = if whole { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        if response.status() != expected || response.content_length().is_some_and(|length| length != left) {
            return Err(S3Error::Answer("as many bytes as the blob has were expected"));
        }
        Ok(Some(Body { response: Some(response), left, limit: self.limit }))
    }

    /// Deletes what is under keys, at most 1000. That there is nothing is no error. Twice is once.
    pub(super) async fn delete(&self, keys: &[String]) -> Result<(), S3Error> {
        let [key] = keys else { return self.delete_many(keys).await };
        self.delete_one(key).await
    }

    async fn delete_one(&self, key: &str) -> Result<(), S3Error> {
        none_is_fine(self.endpoint.call(Ask::new(Method::DELETE, key), self.limit).await.map(drop))
    }

    async fn delete_many(&self, keys: &[String]) -> Result<(), S3Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut body = "<Delete><Quiet>true</Quiet>".to_owned();
        for key in keys {
            body.push_str(&format!("<Object><Key>{}</Key></Object>", xml::escape(key)));
        }
        body.push_str("</Delete>");
        let md5 = BASE64.encode(&Md5::digest(&body));
        let mut ask = Ask { query: &[("delete", "")], ..Ask::of(Method::POST, "", body) };
        ask.headers.push((CONTENT_MD5, md5));
        match self.endpoint.call(ask, self.limit).await {
            Ok((_, body)) => {
                let left = xml::not_deleted(&body).ok_or(S3Error::Answer("a list of what is deleted was expected"))?;
                let left = left.into_iter().find(|refusal| refusal.code != "NoSuchKey");
                left.map_or(Ok(()), |refusal| Err(S3Error::refused(StatusCode::OK, refusal)))
            }
            // Not every server knows this call.
            Err(S3Error::Refused { status, .. }) if UNKNOWN.contains(&status) => {
                for key in keys {
                    self.delete_one(key).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The keys that begin with `prefix`, page by page; with a `delimiter` what they begin with up to it.
    pub(super) fn list<'a>(
        &'a self,
        prefix: &'a str,
        delimiter: Option<&'a str>,
    ) -> impl Stream<Item = Result<Listed, S3Error>> + Send + 'a {
        stream::try_unfold(Some(None::<String>), move |from| async move {
            let Some(from) = from else { return Ok(None) };
            let page = self.page(prefix, delimiter, from.as_deref()).await?;
            let next = page.next_continuation_token.clone().filter(|next| from.as_ref() != Some(next));
            Ok(Some((page, next.map(Some))))
        })
    }

    async fn page(&self, prefix: &str, delimiter: Option<&str>, from: Option<&str>) -> Result<Listed, S3Error> {
        let mut query = vec![("list-type", "2"), ("prefix", prefix)];
        query.extend(delimiter.map(|delimiter| ("delimiter", delimiter)));
        query.extend(from.map(|from| ("continuation-token", from)));
        let ask = Ask { query: &query, ..Ask::new(Method::GET, "") };
        let (_, body) = self.endpoint.call(ask, self.limit).await?;
        let listed =
            xml::read_as::<Listed>("ListBucketResult", &body).ok_or(S3Error::Answer("a list of keys was expected"))?;
        // What is done to what is listed must not be done to anything else.
        if listed.contents.iter().any(|object| !object.key.starts_with(prefix)) {
            return Err(S3Error::Answer("only keys of the prefix were expected"));
        }
        Ok(listed)
    }

    /// Uploads in parts, of keys that begin with `prefix`, that nobody has ended. None where the server does not know the
    /// call.
    pub(super) async fn unended(&self, prefix: &str) -> Result<Vec<Parts>, S3Error> {
        let (mut unended, mut key, mut id) = (Vec::new(), String::new(), String::new());
        loop {
            let mut query = vec![("prefix", prefix), ("uploads", "")];
            if !key.is_empty() {
                query.extend([("key-marker", key.as_str()), ("upload-id-marker", &id)]);
            }
            let page = match self.endpoint.call(Ask { query: &query, ..Ask::new(Method::GET, "") }, self.limit).await {
                Ok((_, body)) => xml::read_as::<Uploads>("ListMultipartUploadsResult", &body),
                Err(S3Error::Refused { status, .. }) if UNKNOWN.contains(&status) => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let page = page.ok_or(S3Error::Answer("a list of uploads was expected"))?;
            unended.extend(page.uploads.into_iter().filter(|upload| upload.key.starts_with(prefix)));
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if !page.is_truncated || next.0.is_empty() || next == (key, id) {
                return Ok(unended);
            }
            (key, id) = next;
        }
    }
}

/// What servers say to a call that they do not know.
const UNKNOWN: [StatusCode; 4] =
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::LENGTH_REQUIRED, StatusCode::NOT_IMPLEMENTED];

impl Body {
    /// The bytes, in pieces as they come. An error comes when fewer or more come than are to, or none for too long;
    /// nothing comes after it.
    pub(in crate::blobstore) fn into_stream(self) -> impl Stream<Item = Result<Bytes, S3Error>> + Send + 'static {
        stream::try_unfold(self, |mut body| async move {
            let limit = body.limit;
            let Some(response) = &mut body.response else { return Ok(None) };
            let next = async { response.chunk().await.map_err(|error| S3Error::of_exchange(error, limit)) };
            match in_time(Instant::now() + limit, limit, next).await? {
                None if body.left == 0 => Ok(None),
                Some(piece) if piece.len() as u64 <= body.left => {
                    body.left -= piece.len() as u64;
                    Ok(Some((piece, body)))
                }
                _ => Err(S3Error::Answer("as many bytes as it said were expected")),
            }
        })
    }
}

/// That there was nothing to delete is no error.
fn none_is_fine(deleted: Result<(), S3Error>) -> Result<(), S3Error> {
    deleted.or_else(|error| if error.is_no_such_key() { Ok(()) } else { Err(error) })
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
