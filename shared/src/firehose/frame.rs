//! Frames: a header and a body, and the stamp that makes a stored body one.

use std::cmp::Ordering;

use bytes::Bytes;

use super::event::required;
use super::{Event, FirehoseError, Kind, MAX_FRAME_LEN, Seq};
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::data::key_order;
use crate::syntax::{Datetime, Tid};

type Result<T> = std::result::Result<T, FirehoseError>;

/// The `op` of a message.
const MESSAGE: i64 = 1;
/// The `op` of an error, after which the stream ends.
const ERROR: i64 = -1;
const INFO_TAG: &str = "#info";

/// The body of an event without `seq` and `time`: DAG-CBOR, as the reference keeps it in `repo_seq.event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    pub(super) kind: Kind,
    pub(super) cbor: Bytes,
}

impl Body {
    /// A body as it was stored. Its content shows when it is stamped or decoded.
    #[must_use]
    pub fn from_stored(kind: Kind, cbor: Bytes) -> Self {
        Self { kind, cbor }
    }

    /// The kind of event.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.cbor
    }

    /// The event that it is.
    ///
    /// # Errors
    /// When it is not an event of its kind, or one of before 2025 in a shape that consumers no longer take.
    pub fn decode(&self) -> Result<Event> {
        let mut reader = Reader::new(&self.cbor);
        let event = Event::read(self.kind, &mut reader, &self.cbor, &mut Stamp::default())?;
        reader.finish()?;
        Ok(event)
    }

    /// The revision that it names, if it is of a repository: also of one that [`Self::decode`] refuses for its shape.
    #[must_use]
    pub fn rev(&self) -> Option<Tid> {
        let mut rev = None;
        let read = Reader::new(&self.cbor).map(|key, reader| {
            match key {
                "rev" => rev = Some(Tid::parse(reader.text()?)?),
                _ => reader.skip()?,
            }
            Ok::<_, FirehoseError>(())
        });
        read.ok().and(rev)
    }

    /// The frame of the event at its place in the sequence. `time` is when it took it.
    ///
    /// Nothing is decoded or encoded again: the two fields go in where DAG-CBOR's order puts them, so that a body with
    /// fields unknown here comes out as the reference would send it.
    ///
    /// # Errors
    /// When the body is not one DAG-CBOR map of less than 22 fields, or has the two already; a frame above
    /// [`MAX_FRAME_LEN`].
    pub fn stamp(&self, seq: Seq, time: &Datetime) -> Result<Bytes> {
        let fields = Gaps::find(&self.cbor)?;
        let part = |range: std::ops::Range<usize>| self.cbor.get(range).unwrap_or_default();
        let head = 0xa0 | fields.count.saturating_add(2);

        let mut frame = header(self.kind.tag());
        frame.reserve(self.cbor.len() + 16 + time.as_str().len() + 16);
        frame.push(head);
        frame.extend_from_slice(part(1..fields.seq_at));
        let mut field = Writer::new();
        field.text("seq").int(i64::try_from(seq.get()).unwrap_or(i64::MAX));
        frame.extend_from_slice(&field.into_bytes());
        frame.extend_from_slice(part(fields.seq_at..fields.time_at));
        let mut field = Writer::new();
        field.text("time").text(time.as_str());
        frame.extend_from_slice(&field.into_bytes());
        frame.extend_from_slice(part(fields.time_at..self.cbor.len()));
        if frame.len() > MAX_FRAME_LEN {
            return Err(FirehoseError::FrameTooLong(frame.len()));
        }
        Ok(frame.into())
    }
}

/// Where `seq` and `time` belong in a body.
struct Gaps {
    /// How many fields it has, less than 22.
    count: u8,
    seq_at: usize,
    time_at: usize,
}

impl Gaps {
    fn find(cbor: &[u8]) -> std::result::Result<Self, CborError> {
        const HEAD_LEN: usize = 1;
        let mut reader = Reader::new(cbor);
        let mut gaps = Self { count: 0, seq_at: HEAD_LEN, time_at: HEAD_LEN };
        reader.map(|key, reader| {
            reader.skip()?;
            for (field, at) in [("seq", &mut gaps.seq_at), ("time", &mut gaps.time_at)] {
                match key_order(key, field) {
                    Ordering::Less => *at = reader.position(),
                    Ordering::Equal => return Err(reader.error(CborErrorKind::DuplicateKey)),
                    Ordering::Greater => {}
                }
            }
            gaps.count += 1;
            // With two more, the head of the map is one byte still.
            if gaps.count > 21 {
                return Err(reader.error(CborErrorKind::Expected("a map of less than 22 fields")));
            }
            Ok(())
        })?;
        reader.finish()?;
        Ok(gaps)
    }
}

/// The `seq` and `time` of a body being read.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    seq: Option<Seq>,
    time: Option<Datetime>,
}

impl Stamp {
    /// Takes the field `key`, one of the two.
    pub(super) fn read(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<()> {
        if key == "seq" {
            let number = reader.uint()?;
            self.seq = Some(Seq::new(number).ok_or(FirehoseError::Seq(number))?);
        } else {
            self.time = Some(Datetime::parse(reader.text()?)?);
        }
        Ok(())
    }
}

/// A frame as a consumer reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event at its place in the sequence.
    Event {
        /// Its place.
        seq: Seq,
        /// When it took it.
        time: Datetime,
        /// What happened.
        event: Event,
    },
    /// A word about the stream itself.
    Info(Info),
    /// The stream has failed and ends.
    Error(StreamError),
    /// Something that later versions may send; to be passed over.
    Unknown {
        /// The header's `op`.
        op: i64,
        /// The header's `t`.
        tag: Option<Box<str>>,
    },
}

/// `#info`: a word about the stream, such as [`super::OUTDATED_CURSOR`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Which word.
    pub name: String,
    /// The same for people.
    pub message: Option<String>,
}

/// An error frame, such as [`super::FUTURE_CURSOR`]; the host closes the connection after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// Which error.
    pub error: String,
    /// The same for people.
    pub message: Option<String>,
}

impl Frame {
    /// Reads a frame; byte strings in it become slices of `frame`.
    ///
    /// # Errors
    /// A frame above [`MAX_FRAME_LEN`]; anything but two strict DAG-CBOR maps; a known kind that lacks a field, breaks
    /// a limit or has a malformed value.
    pub fn decode(frame: &Bytes) -> Result<Self> {
        if frame.len() > MAX_FRAME_LEN {
            return Err(FirehoseError::FrameTooLong(frame.len()));
        }
        let mut reader = Reader::new(frame);
        let (op, tag) = read_header(&mut reader)?;
        let decoded = match (op, tag) {
            (MESSAGE, Some(INFO_TAG)) => {
                let (name, message) = read_notice(&mut reader, "name")?;
                Self::Info(Info { name, message })
            }
            (ERROR, _) => {
                let (error, message) = read_notice(&mut reader, "error")?;
                Self::Error(StreamError { error, message })
            }
            (MESSAGE, Some(tag)) if let Some(kind) = Kind::of_tag(tag) => {
                let mut stamp = Stamp::default();
                let event = Event::read(kind, &mut reader, frame, &mut stamp)?;
                let seq = required(&reader, "seq", stamp.seq)?;
                Self::Event { seq, time: required(&reader, "time", stamp.time)?, event }
            }
            _ => {
                reader.map(|_, reader| reader.skip())?;
                Self::Unknown { op, tag: tag.map(Box::from) }
            }
        };
        reader.finish()?;
        Ok(decoded)
    }
}

impl Info {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        notice(header(INFO_TAG), "name", &self.name, self.message.as_deref())
    }
}

impl StreamError {
    /// The frame.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = Writer::new();
        writer.map(1).text("op").int(ERROR);
        notice(writer.into_bytes(), "error", &self.error, self.message.as_deref())
    }
}

/// The header of a message.
fn header(tag: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2).text("t").text(tag).text("op").int(MESSAGE);
    writer.into_bytes()
}

fn read_header<'a>(reader: &mut Reader<'a>) -> Result<(i64, Option<&'a str>)> {
    let (mut op, mut tag) = (None, None);
    reader.map(|key, reader| {
        match key {
            "t" => tag = Some(reader.text()?),
            "op" => op = Some(reader.int()?),
            _ => reader.skip()?,
        }
        Ok::<_, CborError>(())
    })?;
    Ok((required(reader, "op", op)?, tag))
}

/// Appends the body of an error or of `#info`: its name under `field`, and a message.
fn notice(mut frame: Vec<u8>, field: &str, name: &str, message: Option<&str>) -> Bytes {
    let mut writer = Writer::new();
    writer.map(1 + usize::from(message.is_some()));
    // Both field names are shorter than `message`.
    writer.text(field).text(name);
    if let Some(message) = message {
        writer.text("message").text(message);
    }
    frame.extend_from_slice(&writer.into_bytes());
    frame.into()
}

fn read_notice(reader: &mut Reader<'_>, field: &'static str) -> Result<(String, Option<String>)> {
    let (mut name, mut message) = (None, None);
    reader.map(|key, reader| {
        match key {
            _ if key == field => name = Some(reader.text()?.to_owned()),
            "message" => message = Some(reader.text()?.to_owned()),
            _ => reader.skip()?,
        }
        Ok::<_, CborError>(())
    })?;
    Ok((required(reader, field, name)?, message))
}
