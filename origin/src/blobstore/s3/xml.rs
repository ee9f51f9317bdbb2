//! What a bucket says in XML, as far as it matters here.
//!
//! Elements that are not known are passed over: servers add their own.

use quick_xml::de::from_reader;
use quick_xml::events::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why something was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Refusal {
    /// The name of the reason, such as `NoSuchKey`.
    pub(super) code: String,
    /// The same for people.
    pub(super) message: String,
    /// Where the bucket is, if the reason is that it is asked in another place.
    pub(super) region: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

/// A page of a list of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    /// The keys.
    pub(super) contents: Vec<Object>,
    /// What keys begin with, up to a delimiter.
    pub(super) common_prefixes: Vec<Prefix>,
    /// What to ask the next page with.
    pub(super) next_continuation_token: Option<String>,
}

/// What is under a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Object {
    pub(super) key: String,
    /// When it was put there.
    pub(super) last_modified: String,
}

/// What keys begin with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Prefix {
    pub(super) prefix: String,
}

/// Uploads in parts that nobody has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Uploads {
    #[serde(rename = "Upload")]
    pub(super) uploads: Vec<Parts>,
    /// Whether there are more.
    pub(super) is_truncated: bool,
    /// What to ask the next page with.
    pub(super) next_key_marker: String,
    pub(super) next_upload_id_marker: String,
}

/// An upload in parts that nobody has ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::blobstore) struct Parts {
    pub(super) key: String,
    pub(super) upload_id: String,
    /// When it was begun.
    pub(super) initiated: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Deleted {
    #[serde(rename = "Error")]
    errors: Vec<Refusal>,
}

/// The reason in the body of a refusal; an empty one if there is none.
pub(super) fn refusal(body: &[u8]) -> Refusal {
    read_as("Error", body).unwrap_or_default()
}

/// What of a batch was not deleted, though the request as a whole was not refused. `None` for what is no such answer.
pub(super) fn not_deleted(body: &[u8]) -> Option<Vec<Refusal>> {
    Some(read_as::<Deleted>("DeleteResult", body)?.errors)
}

/// What an upload in parts that was begun is called.
pub(super) fn upload_id(body: &[u8]) -> Option<String> {
    Some(read_as::<Begun>("InitiateMultipartUploadResult", body)?.upload_id).filter(|id| !id.is_empty())
}

/// A document of this type; `None` for what is none.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    from_reader(body).ok()
}

/// A document of this type, whose outermost element has this name; `None` for what is none.
pub(super) fn read_as<T: DeserializeOwned>(name: &str, body: &[u8]) -> Option<T> {
    if root(body)? == name { read(body) } else { None }
}

/// The name of a document's outermost element, without a prefix.
pub(super) fn root(body: &[u8]) -> Option<String> {
    let mut reader = quick_xml::Reader::from_reader(body);
    loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                return Some(String::from_utf8_lossy(element.local_name().as_ref()).into_owned());
            }
            Ok(Event::Eof) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// A text as the content of an element.
pub(super) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
            <Error><Code>PermanentRedirect</Code><Message>Use &lt;that&gt;</Message><Region>eu-west-1</Region><X/></Error>"#;
        let refusal = refusal(body);
        assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("PermanentRedirect", "Use <that>"));
        assert_eq!(refusal.region.as_deref(), Some("eu-west-1"));
        for none in [&b""[..], b"<html><Code>NoSuchKey</Code></html>", b"not found", b"<Error><Code>"] {
            assert_eq!(super::refusal(none), Refusal::default());
        }
    }

    #[test]
    fn lists_are_read_whole_or_in_pages() {
        let page =
            br#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>true</IsTruncated>
            <Contents><Key>a</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified><Size>1</Size></Contents>
            <Contents><Key>b</Key><LastModified>2009-10-12T17:50:30Z</LastModified></Contents>
            <CommonPrefixes><Prefix>tmp/</Prefix></CommonPrefixes>
            <NextContinuationToken>next=</NextContinuationToken></ListBucketResult>"#;
        let page: Listed = read(page).unwrap();
        assert_eq!(page.contents.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(page.common_prefixes[0].prefix, "tmp/");
        assert_eq!(page.next_continuation_token.as_deref(), Some("next="));
        let last: Listed = read(b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>").unwrap();
        assert_eq!(last, Listed::default());
        let uploads = b"<ListMultipartUploadsResult><Upload><Key>a</Key><UploadId>u</UploadId>\
            <Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload></ListMultipartUploadsResult>";
        assert_eq!(read::<Uploads>(uploads).unwrap().uploads[0].upload_id, "u");
    }

    #[test]
    fn what_a_batch_left_is_seen() {
        let quiet = b"<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></DeleteResult>";
        assert_eq!(not_deleted(quiet).unwrap(), []);
        let mixed = b"<DeleteResult><Deleted><Key>a</Key></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>\
            <Message>no</Message></Error><Deleted><Key>c</Key></Deleted></DeleteResult>";
        assert_eq!(not_deleted(mixed).unwrap()[0].code, "AccessDenied");
        assert_eq!(not_deleted(b"<html/>"), None);
    }

    #[test]
    fn the_outermost_element_is_known_by_its_name() {
        assert_eq!(
            root(b"<?xml version='1.0'?><!-- x --><s3:CopyObjectResult xmlns:s3='x'/>").unwrap(),
            "CopyObjectResult"
        );
        assert_eq!(root(b"  "), None);
        assert_eq!(
            upload_id(b"<InitiateMultipartUploadResult><UploadId>u+/=</UploadId></InitiateMultipartUploadResult>")
                .unwrap(),
            "u+/="
        );
    }
}
