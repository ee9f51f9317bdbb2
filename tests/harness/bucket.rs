//! A bucket: a real S3 server on a port of its own, in the test's process.
//!
//! It holds every request against its signature. Between it and whoever asks is a layer that notes each request, and fails
//! where a test wants it to.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput, CompleteMultipartUploadOutput,
    CopyObjectInput, CopyObjectOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListObjectsV2Input, ListObjectsV2Output,
    MultipartUpload, PutObjectInput, PutObjectOutput, Timestamp, UploadPartInput, UploadPartOutput,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The name of the bucket.
pub const BUCKET: &str = "blobs";
/// Whose key is known to it.
pub const KEY_ID: &str = "a key";
/// Its secret.
pub const SECRET: &str = "a secret/with+signs=";

type Cut = Box<dyn std::error::Error + Send + Sync>;

/// A running S3 server with one bucket. It ends, and what it has goes, when this is dropped.
#[derive(Debug)]
pub struct Bucket {
    address: SocketAddr,
    front: Arc<Front>,
    serving: Mutex<Option<JoinHandle<()>>>,
    directory: TempDir,
}

/// What was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Such as `PUT`.
    pub method: String,
    /// Path and query, as they came.
    pub target: String,
    /// The header of this name.
    pub content_type: Option<String>,
}

/// How it fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It answers with this status and an error of this name; what follows is put into the error's document.
    Refuses(u16, &'static str, &'static str),
    /// It does nothing, and answers with 200 and this document.
    Says(&'static str),
    /// It takes this much longer.
    Slow(Duration),
    /// It takes some of the request and closes the connection.
    Cut,
    /// It does what is asked and closes the connection without an answer.
    AnswerLost,
    /// It answers, and closes the connection in the middle of it.
    AnswerCut,
}

struct Failing {
    on: Box<dyn Fn(&Asked) -> bool + Send>,
    how: Fault,
    times: usize,
}

struct Front {
    service: S3Service,
    asked: Mutex<Vec<Asked>>,
    failing: Mutex<Vec<Failing>>,
    parts: Parts,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front").finish_non_exhaustive()
    }
}

impl Bucket {
    /// Starts one with an empty bucket.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(BUCKET)).unwrap();
        let parts = Parts::default();
        let files = FileSystem::new(directory.path()).unwrap();
        let files = Files { directory: directory.path().to_owned(), files, parts: parts.clone() };
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let front = Front { service: builder.build(), asked: Mutex::default(), failing: Mutex::default(), parts };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let bucket = Self { address, front: Arc::new(front), serving: Mutex::default(), directory };
        bucket.serve(listener);
        bucket
    }

    fn serve(&self, listener: TcpListener) {
        let front = Arc::clone(&self.front);
        let serving = tokio::spawn(async move {
            // They end with it.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let front = Arc::clone(&front);
                let service = service_fn(move |request| Arc::clone(&front).answer(request));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        *self.serving.lock().unwrap() = Some(serving);
    }

    /// Ends it, with all its connections; what it has stays.
    pub async fn leave(&self) {
        let serving = self.serving.lock().unwrap().take();
        if let Some(serving) = serving {
            serving.abort();
            let _aborted = serving.await;
        }
    }

    /// Has it back at its address.
    pub async fn come_back(&self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that name it, for a server that keeps its blobs there.
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("PDS_BLOBSTORE_S3_BUCKET", BUCKET.to_owned()),
            ("PDS_BLOBSTORE_S3_ENDPOINT", self.url()),
            ("PDS_BLOBSTORE_S3_REGION", "us-east-1".to_owned()),
            ("PDS_BLOBSTORE_S3_FORCE_PATH_STYLE", "true".to_owned()),
            ("PDS_BLOBSTORE_S3_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
    }

    /// Where the objects are: a directory as deep as their keys have slashes.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().join(BUCKET)
    }

    /// Every key, in order.
    pub fn keys(&self) -> Vec<String> {
        fn gather(directory: &Path, all: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { gather(&path, all) } else { all.push(path) }
            }
        }
        let mut paths = Vec::new();
        gather(&self.directory(), &mut paths);
        let names = paths.iter().map(|path| path.strip_prefix(self.directory()).unwrap().to_str().unwrap().to_owned());
        let mut keys: Vec<_> = names.collect();
        keys.sort();
        keys
    }

    /// What is under a key.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.directory().join(key)).ok()
    }

    /// How many uploads in parts nobody has ended.
    pub fn unended(&self) -> usize {
        self.front.parts.0.lock().unwrap().len()
    }

    /// Makes everything that is there look this much older.
    pub fn age(&self, by: Duration) {
        for key in self.keys() {
            let file = File::options().write(true).open(self.directory().join(key)).unwrap();
            file.set_modified(SystemTime::now() - by).unwrap();
        }
        for upload in self.front.parts.0.lock().unwrap().iter_mut() {
            upload.initiated = Some(Timestamp::from(SystemTime::now() - by));
        }
    }

    /// What was asked so far, and is forgotten with this.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.front.asked.lock().unwrap())
    }

    /// Fails the next `times` requests that are of the kind.
    pub fn fail(&self, times: usize, how: Fault, on: impl Fn(&Asked) -> bool + Send + 'static) {
        self.front.failing.lock().unwrap().push(Failing { on: Box::new(on), how, times });
    }

    /// Fails no longer.
    pub fn heal(&self) {
        self.front.failing.lock().unwrap().clear();
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.abort();
        }
    }
}

impl Front {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
        let asked = Asked { method: request.method().to_string(), target: request.uri().to_string(), content_type };
        let fault = self.fault(&asked);
        self.asked.lock().unwrap().push(asked);
        match fault {
            None => self.pass(request).await,
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                self.pass(request).await
            }
            Some(Fault::Refuses(status, code, more)) => {
                // All of it comes first, as to a server that looks at it.
                let _body = request.into_body().collect().await?;
                let document = format!("<Error><Code>{code}</Code><Message>for a test</Message>{more}</Error>");
                Ok(Response::builder().status(status).body(Body::from(document))?)
            }
            Some(Fault::Says(document)) => {
                let _body = request.into_body().collect().await?;
                Ok(Response::new(Body::from(document.to_owned())))
            }
            Some(Fault::Cut) => {
                let _some = request.into_body().frame().await;
                Err("cut".into())
            }
            Some(Fault::AnswerLost) => {
                self.pass(request).await?.into_body().collect().await?;
                Err("lost".into())
            }
            Some(Fault::AnswerCut) => {
                let (parts, body) = self.pass(request).await?.into_parts();
                let whole = body.collect().await?.to_bytes();
                let half = whole.slice(..whole.len() / 2);
                let frames = stream::iter([Ok(Frame::data(half)), Err::<Frame<Bytes>, Cut>("cut".into())]);
                Ok(Response::from_parts(parts, Body::http_body(StreamBody::new(frames))))
            }
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        Ok(self.service.call(request.map(Body::from)).await.map_err(|error| format!("{error:?}"))?)
    }

    fn fault(&self, asked: &Asked) -> Option<Fault> {
        let mut failing = self.failing.lock().unwrap();
        let fault = failing.iter_mut().find(|fault| fault.times > 0 && (fault.on)(asked))?;
        fault.times -= 1;
        Some(fault.how.clone())
    }
}

/// The uploads in parts that nobody has ended.
#[derive(Clone, Default)]
struct Parts(Arc<Mutex<Vec<MultipartUpload>>>);

/// The server's own store, which knows of uploads in parts which there are.
struct Files {
    directory: PathBuf,
    files: FileSystem,
    parts: Parts,
}

impl Files {
    /// It would make a bucket for whoever names one.
    fn has(&self, bucket: &str) -> S3Result<()> {
        if self.directory.join(bucket).is_dir() { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn end(&self, upload_id: &str) {
        self.parts.0.lock().unwrap().retain(|upload| upload.upload_id.as_deref() != Some(upload_id));
    }
}

/// What is passed on as it is.
macro_rules! as_it_is {
    ($($name:ident: $input:ident => $output:ident,)*) => {
        #[async_trait]
        impl S3 for Files {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.has(&request.input.bucket)?;
                self.files.$name(request).await
            })*

            async fn create_multipart_upload(
                &self,
                request: S3Request<CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
                self.has(&request.input.bucket)?;
                let key = request.input.key.clone();
                let begun = self.files.create_multipart_upload(request).await?;
                self.parts.0.lock().unwrap().push(MultipartUpload {
                    key: Some(key),
                    upload_id: begun.output.upload_id.clone(),
                    initiated: Some(Timestamp::from(SystemTime::now())),
                    ..MultipartUpload::default()
                });
                Ok(begun)
            }

            async fn complete_multipart_upload(
                &self,
                request: S3Request<CompleteMultipartUploadInput>,
            ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
                let id = request.input.upload_id.clone();
                let done = self.files.complete_multipart_upload(request).await?;
                self.end(&id);
                Ok(done)
            }

            async fn abort_multipart_upload(
                &self,
                request: S3Request<AbortMultipartUploadInput>,
            ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
                let id = request.input.upload_id.clone();
                let done = self.files.abort_multipart_upload(request).await?;
                self.end(&id);
                Ok(done)
            }

            /// One upload a page.
            async fn list_multipart_uploads(
                &self,
                request: S3Request<ListMultipartUploadsInput>,
            ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
                let ListMultipartUploadsInput { prefix, key_marker, upload_id_marker, .. } = request.input;
                let (prefix, after) = (prefix.unwrap_or_default(), (key_marker, upload_id_marker));
                let mut uploads = self.parts.0.lock().unwrap().clone();
                let place = |upload: &MultipartUpload| (upload.key.clone(), upload.upload_id.clone());
                uploads.retain(|upload| place(upload) > after && upload.key.as_ref().unwrap().starts_with(&prefix));
                uploads.sort_by_key(place);
                let more = uploads.len() > 1;
                uploads.truncate(1);
                let (next_key_marker, next_upload_id_marker) = uploads.first().map(place).unwrap_or_default();
                Ok(S3Response::new(ListMultipartUploadsOutput {
                    is_truncated: Some(more),
                    next_key_marker,
                    next_upload_id_marker,
                    uploads: Some(uploads),
                    ..ListMultipartUploadsOutput::default()
                }))
            }
        }
    };
}

as_it_is! {
    put_object: PutObjectInput => PutObjectOutput,
    get_object: GetObjectInput => GetObjectOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    upload_part: UploadPartInput => UploadPartOutput,
}
