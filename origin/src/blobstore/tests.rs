//! Blobs on a disk: uploads, their hashes and types, parts, and where the files are.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _};
use tempfile::TempDir;

use super::intake::GATHERED_LEN;
use super::*;

const LIMIT: u64 = 1 << 20;

fn did() -> Did {
    Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap()
}

/// A store whose uploads are where the reference has them.
fn store() -> (TempDir, Blobstore) {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("blocks");
    let temporary = location.join("tempt");
    (directory, Blobstore::new(&Blobs::Disk { location, temporary }).unwrap())
}

fn body(pieces: &[&[u8]]) -> impl Stream<Item = Result<Bytes, io::Error>> {
    stream::iter(pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>())
}

async fn upload(store: &Blobstore, bytes: &[u8]) -> TemporaryBlob {
    store.put_temporary(&did(), body(&[bytes]), "text/plain", LIMIT).await.unwrap()
}

/// Makes an upload permanent. False: it is not there.
async fn keep(store: &Blobstore, blob: &TemporaryBlob) -> bool {
    store.make_permanent(&did(), &[(blob.key.clone(), blob.cid.clone())]).await.unwrap().is_empty()
}

/// Everything a blob store keeps, as paths within the directory.
fn files(directory: &TempDir) -> Vec<String> {
    fn walk(directory: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, all) } else { all.push(path) }
        }
    }
    let mut all = Vec::new();
    walk(directory.path(), &mut all);
    let mut names: Vec<_> =
        all.iter().map(|path| path.strip_prefix(directory.path()).unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

async fn read(store: &Blobstore, cid: &Cid, range: Range<u64>) -> Vec<u8> {
    let opened = store.open(&did(), cid, 0).unwrap().unwrap();
    let pieces: Vec<_> = opened.read(range).await.unwrap().unwrap().collect().await;
    pieces.into_iter().flat_map(|piece| piece.unwrap().to_vec()).collect()
}

#[tokio::test]
async fn an_upload_is_hashed_counted_and_looked_at_on_its_way_to_the_references_place() {
    let (directory, store) = store();
    let image = b"\xff\xd8\xff\xe0 and so on";
    let pieces = [&image[..2], &image[2..5], &[], &image[5..]];
    let blob = store.put_temporary(&did(), body(&pieces), "text/plain", LIMIT).await.unwrap();
    assert_eq!((blob.cid, blob.size, blob.mime_type.as_str()), (Cid::of_raw(image), image.len() as u64, "image/jpeg"));
    assert_eq!(blob.key.as_str().len(), 52);
    assert_eq!(files(&directory), [format!("blocks/tempt/{}/{}", did(), blob.key.as_str())]);
}

#[tokio::test]
async fn an_upload_of_many_pieces_arrives_whole() {
    let (_directory, store) = store();
    let bytes: Vec<u8> = (0..3 * GATHERED_LEN + 17).map(|nth| (nth % 251) as u8).collect();
    let pieces: Vec<&[u8]> = bytes.chunks(60_001).collect();
    let blob = store.put_temporary(&did(), body(&pieces), "text/plain", bytes.len() as u64).await.unwrap();
    assert_eq!((&blob.cid, blob.size), (&Cid::of_raw(&bytes), bytes.len() as u64));
    assert!(keep(&store, &blob).await);
    assert_eq!(read(&store, &blob.cid, 0..u64::MAX).await, bytes);
    assert_eq!(read(&store, &blob.cid, 300_000..900_000).await, &bytes[300_000..bytes.len().min(900_000)]);
    assert_eq!(read(&store, &blob.cid, 5..5).await, b"");
    assert_eq!(read(&store, &blob.cid, LIMIT * 9..LIMIT * 10).await, b"");
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let (_directory, store) = store();
    let blob = store.put_temporary(&did(), body(&[]), "text/plain", 0).await.unwrap();
    assert_eq!((&blob.cid, blob.size, blob.mime_type.as_str()), (&Cid::of_raw(b""), 0, "text/plain"));
    assert!(keep(&store, &blob).await);
    assert_eq!(store.size(&did(), &blob.cid).await.unwrap(), Some(0));
    assert_eq!(read(&store, &blob.cid, 0..1).await, b"");
}

#[tokio::test]
async fn a_refused_broken_or_abandoned_upload_leaves_nothing() {
    let (directory, store) = store();
    let large = store.put_temporary(&did(), body(&[b"12345", b"6"]), "", 5).await.unwrap_err();
    assert!(matches!(large, BlobstoreError::TooLarge { limit: 5 }));
    assert_eq!(files(&directory), [""; 0]);

    let broken = body(&[b"12345"]).chain(stream::iter([Err(io::Error::other("gone"))]));
    let broken = store.put_temporary(&did(), broken, "", LIMIT).await.unwrap_err();
    assert!(matches!(broken, BlobstoreError::Body(_)));
    assert_eq!(files(&directory), [""; 0]);

    let endless = body(&[b"12345"]).chain(stream::pending());
    let did = did();
    let given_up = store.put_temporary(&did, endless, "", LIMIT);
    assert!(tokio::time::timeout(Duration::from_millis(50), given_up).await.is_err());
    assert_eq!(files(&directory), [""; 0]);
}

#[tokio::test]
async fn becoming_permanent_can_be_repeated_at_every_step() {
    let (directory, store) = store();
    let blob = upload(&store, b"hello").await;
    for _ in 0..2 {
        assert!(keep(&store, &blob).await);
        assert!(store.has_temporary(&did(), &blob.key).await.unwrap());
    }
    for _ in 0..2 {
        store.remove_temporary(&did(), vec![blob.key.clone()]).await.unwrap();
        assert!(!store.has_temporary(&did(), &blob.key).await.unwrap());
        assert!(keep(&store, &blob).await);
    }
    assert_eq!(files(&directory), [format!("blocks/{}/{}", did(), blob.cid)]);
    assert_eq!(read(&store, &blob.cid, 0..5).await, b"hello");
}

#[tokio::test]
async fn an_upload_that_is_gone_cannot_become_permanent() {
    let (_directory, store) = store();
    let blob = upload(&store, b"hello").await;
    store.remove_temporary(&did(), vec![blob.key.clone()]).await.unwrap();
    assert!(!keep(&store, &blob).await);
    assert!(store.open(&did(), &blob.cid, 5).unwrap().is_none());
}

#[tokio::test]
async fn a_blob_that_a_crash_cut_short_is_replaced() {
    let (directory, store) = store();
    let blob = upload(&store, b"hello").await;
    let path = directory.path().join(format!("blocks/{}", did()));
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(blob.cid.to_string()), b"he").unwrap();
    assert!(keep(&store, &blob).await);
    assert_eq!(read(&store, &blob.cid, 0..5).await, b"hello");
}

#[tokio::test]
async fn two_uploads_of_one_blob_end_as_one() {
    let (directory, store) = store();
    let (one, other) = (upload(&store, b"hello").await, upload(&store, b"hello").await);
    let did = did();
    let (first, second) = tokio::join!(keep(&store, &one), keep(&store, &other));
    assert!(first && second);
    store.remove_temporary(&did, vec![one.key.clone()]).await.unwrap();
    store.remove_temporary(&did, vec![other.key.clone()]).await.unwrap();
    assert_eq!(files(&directory), [format!("blocks/{did}/{}", one.cid)]);
}

#[tokio::test]
async fn uploads_may_be_kept_elsewhere() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    let (location, temporary) = (directory.path().join("blocks"), elsewhere.path().join("uploads"));
    let store = Blobstore::new(&Blobs::Disk { location, temporary }).unwrap();
    let blob = upload(&store, b"hello").await;
    assert_eq!(files(&elsewhere), [format!("uploads/{}/{}", did(), blob.key.as_str())]);
    assert!(keep(&store, &blob).await);
    assert_eq!(files(&directory), [format!("blocks/{}/{}", did(), blob.cid)]);
    assert_eq!(read(&store, &blob.cid, 0..5).await, b"hello");
}

#[tokio::test]
async fn a_blob_can_be_taken_down_and_put_back() {
    let (directory, store) = store();
    let blob = upload(&store, b"hello").await;
    assert!(!store.quarantine(&did(), &blob.cid).await.unwrap());
    keep(&store, &blob).await;
    store.remove_temporary(&did(), vec![blob.key.clone()]).await.unwrap();
    for _ in 0..2 {
        assert!(store.quarantine(&did(), &blob.cid).await.unwrap());
        assert!(store.open(&did(), &blob.cid, 5).unwrap().is_none());
        assert_eq!(files(&directory), [format!("blocks/quarantine/{}/{}", did(), blob.cid)]);
    }
    for _ in 0..2 {
        assert!(store.unquarantine(&did(), &blob.cid).await.unwrap());
        assert_eq!(read(&store, &blob.cid, 0..5).await, b"hello");
    }
}

#[tokio::test]
async fn deleting_can_be_repeated() {
    let (directory, store) = store();
    let (one, other) = (upload(&store, b"one").await, upload(&store, b"other").await);
    for blob in [&one, &other] {
        keep(&store, blob).await;
        store.remove_temporary(&did(), vec![blob.key.clone()]).await.unwrap();
    }
    for _ in 0..2 {
        store.delete_many(&did(), vec![one.cid.clone(), Cid::of_raw(b"never")]).await.unwrap();
        assert_eq!(store.size(&did(), &one.cid).await.unwrap(), None);
        assert_eq!(store.size(&did(), &other.cid).await.unwrap(), Some(5));
    }
    let _waiting = upload(&store, b"third").await;
    for _ in 0..2 {
        store.delete_account(&did()).await.unwrap();
        assert_eq!(files(&directory), [""; 0]);
    }
}

#[tokio::test]
async fn a_blob_being_read_can_be_deleted() {
    let (_directory, store) = store();
    let blob = upload(&store, b"hello").await;
    keep(&store, &blob).await;
    let opened = store.open(&did(), &blob.cid, 5).unwrap().unwrap();
    store.delete_many(&did(), vec![blob.cid]).await.unwrap();
    let pieces: Vec<_> = opened.read(1..4).await.unwrap().unwrap().collect().await;
    assert_eq!(pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Bytes::from_static(b"ell")]);
}

#[tokio::test]
async fn old_uploads_that_no_row_mentions_are_swept() {
    let (directory, store) = store();
    let (old, mentioned, new) = (upload(&store, b"1").await, upload(&store, b"2").await, upload(&store, b"3").await);
    let place = directory.path().join(format!("blocks/tempt/{}", did()));
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    for key in [&old.key, &mentioned.key] {
        File::options().write(true).open(place.join(key.as_str())).unwrap().set_modified(an_hour_ago).unwrap();
    }
    // What other programs left there is nobody's upload.
    fs::write(place.join("README"), "").unwrap();
    File::options().write(true).open(place.join("README")).unwrap().set_modified(an_hour_ago).unwrap();
    fs::create_dir(directory.path().join("blocks/tempt/lost+found")).unwrap();

    let age = Duration::from_secs(600);
    let rows = |of: Did, keys: Vec<Key>| {
        assert_eq!((of, keys.len()), (did(), 2));
        std::future::ready(Ok::<_, BlobstoreError>(Some(HashSet::from([mentioned.key.clone()]))))
    };
    assert_eq!(store.sweep(age, rows).await.unwrap(), 1);
    assert!(!store.has_temporary(&did(), &old.key).await.unwrap());
    assert!(store.has_temporary(&did(), &mentioned.key).await.unwrap());
    assert!(store.has_temporary(&did(), &new.key).await.unwrap());
    assert!(place.join("README").exists());
}

#[tokio::test]
async fn a_store_that_cannot_write_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("blocks");
    fs::write(&location, "a file").unwrap();
    let temporary = location.join("tempt");
    let store = Blobstore::new(&Blobs::Disk { location, temporary }).unwrap();
    let error = store.put_temporary(&did(), body(&[b"1"]), "", LIMIT).await.unwrap_err();
    assert!(matches!(error, BlobstoreError::Io(_)), "{error:?}");
    // Nothing to sweep is nothing to fail at.
    let none = |_, _| std::future::ready(Ok::<_, BlobstoreError>(Some(HashSet::new())));
    assert_eq!(store.sweep(Duration::ZERO, none).await.unwrap(), 0);
}

#[test]
fn keys_are_random_base32_and_nothing_else_is_one() {
    let key = Key::random();
    assert_eq!(Key::parse(key.as_str()), Some(key.clone()));
    assert_ne!(Key::random(), key);
    for text in ["", "../../account.sqlite", &"a".repeat(51), &"A".repeat(52), &"/".repeat(52)] {
        assert_eq!(Key::parse(text), None, "{text}");
    }
}
