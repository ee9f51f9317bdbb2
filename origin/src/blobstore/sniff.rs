//! What a blob is, told from its first bytes.
//!
//! What is found here is the blob's type, whatever its sender says; only where nothing is found, or no more than the
//! archive that many formats are wrapped in, the sender is believed. Names are those that the reference gives the same
//! bytes, because a record must repeat them. A blob is never opened further than this: nothing is decoded.
//!
//! Specification: <https://atproto.com/specs/blob>.

/// How many of a blob's first bytes are looked at.
pub(super) const HEAD_LEN: usize = 4096;

const ZIP: &str = "application/zip";

/// Formats that begin with fixed bytes. Longer ones stand before those that they begin with.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"GIF8", "image/gif"),
    (b"\xff\xd8\xff\xf7", "image/jls"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\xff\x4f\xff\x51", "image/j2c"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"icns", "image/icns"),
    (b"II\xbc", "image/vnd.ms-photo"),
    (b"FLIF", "image/flif"),
    (b"BPG\xfb", "image/bpg"),
    (b"gimp xcf ", "image/x-xcf"),
    (b"\0\0\x01\0", "image/x-icon"),
    (b"\0\0\x02\0", "image/x-icon"),
    (b"MThd", "audio/midi"),
    (b"fLaC", "audio/flac"),
    (b"FORM", "audio/aiff"),
    (b"caff\0\x01", "audio/x-caf"),
    (b"#!AMR", "audio/amr"),
    (b"wvpk", "audio/wavpack"),
    (b"MAC ", "audio/ape"),
    (b"MPCK", "audio/x-musepack"),
    (b"MP+", "audio/x-musepack"),
    (b"DSD ", "audio/x-dsf"),
    (b"FLV\x01", "video/x-flv"),
    (b"\0\0\x01\xb3", "video/mpeg"),
    (b"%PDF", "application/pdf"),
    (b"%!", "application/postscript"),
    (b"{\\rtf", "application/rtf"),
    (b"<?xml ", "application/xml"),
    (b"PK\x05\x06", ZIP),
    (b"PK\x07\x08", ZIP),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/x-rar-compressed"),
    (b"\0asm", "application/wasm"),
    (b"\x7fELF", "application/x-elf"),
    (b"SQLi", "application/x-sqlite3"),
    (b"glTF\x02\0\0\0", "model/gltf-binary"),
    (b"OTTO\0", "font/otf"),
    (b"\0\x01\0\0\0", "font/ttf"),
    (b"ttcf", "font/collection"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"BEGIN:VCARD", "text/vcard"),
    (b"BEGIN:VCALENDAR", "text/calendar"),
];

/// Formats that hold fixed bytes further in.
const INNER_SIGNATURES: &[(usize, &[u8], &str)] = &[
    (4, b"free", "video/quicktime"),
    (4, b"mdat", "video/quicktime"),
    (4, b"moov", "video/quicktime"),
    (4, b"wide", "video/quicktime"),
    (257, b"ustar\0", "application/x-tar"),
    (257, b"ustar ", "application/x-tar"),
];

/// The type of a blob that begins with `head`, [`HEAD_LEN`] bytes unless it is shorter, and is said to be `declared`.
pub(super) fn mime_type(head: &[u8], declared: &str) -> String {
    match sniff(head) {
        Some(ZIP) if is_wrapped_in_zip(declared) => declared.to_owned(),
        Some(found) => found.to_owned(),
        None => declared.to_owned(),
    }
}

fn is_wrapped_in_zip(declared: &str) -> bool {
    let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("application/vnd.")
        || essence.ends_with("+zip")
        || matches!(essence.as_str(), "application/java-archive" | "model/3mf")
}

fn sniff(head: &[u8]) -> Option<&'static str> {
    // A byte order mark may stand before the text formats.
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    container(head)
        .or_else(|| SIGNATURES.iter().find(|(bytes, _)| head.starts_with(bytes)).map(|(_, mime)| *mime))
        .or_else(|| INNER_SIGNATURES.iter().find(|(at, bytes, _)| has(head, *at, bytes)).map(|(_, _, mime)| *mime))
        .or_else(|| is_transport_stream(head).then_some("video/mp2t"))
        .or_else(|| mpeg_audio(head))
}

/// Formats whose first bytes name a family, and something further in the member of it.
fn container(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"BM") {
        // Two letters that any text may begin with; of a picture, four bytes are reserved and 0.
        return has(head, 6, &[0; 4]).then_some("image/bmp");
    }
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some(if is_animated(head) { "image/apng" } else { "image/png" });
    }
    if head.starts_with(b"RIFF") {
        return riff(head);
    }
    if has(head, 4, b"ftyp") {
        return iso_media(head);
    }
    if head.starts_with(b"\x1a\x45\xdf\xa3") {
        return matroska(head);
    }
    if head.starts_with(b"OggS") {
        return Some(ogg(head));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Some(zip(head));
    }
    if head.starts_with(b"II*\0")
        || head.starts_with(b"MM\0*")
        || head.starts_with(b"II+\0")
        || head.starts_with(b"MM\0+")
    {
        return Some(if has(head, 8, b"CR") { "image/x-canon-cr2" } else { "image/tiff" });
    }
    if head.starts_with(b"\0\0\0\x0cjP  \r\n\x87\n") {
        return jpeg_2000(head);
    }
    if head.starts_with(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9") {
        return Some("application/vnd.ms-asf");
    }
    if head.starts_with(b"\0\0\x01\xba") {
        let layout = head.get(4).copied().unwrap_or_default();
        return Some(match layout {
            _ if layout & 0xf1 == 0x21 => "video/MP1S",
            _ if layout & 0xc4 == 0x44 => "video/MP2P",
            _ => "video/mpeg",
        });
    }
    if head.starts_with(b"ID3") {
        return after_id3(head);
    }
    if let Some(rest) = head.strip_prefix(b"WEBVTT") {
        return rest.first().is_none_or(|byte| b"\n\r\t ".contains(byte)).then_some("text/vtt");
    }
    None
}

fn has(head: &[u8], at: usize, bytes: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(bytes))
}

/// Whether a PNG has the chunk of an animation before its first picture.
fn is_animated(head: &[u8]) -> bool {
    let mut chunks = head.get(8..).unwrap_or_default();
    while let Some((length, rest)) = chunks.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if rest.starts_with(b"IDAT") {
            return false;
        }
        if rest.starts_with(b"acTL") {
            return true;
        }
        // Its name, its content, its checksum.
        chunks = rest.get(length.saturating_add(8)..).unwrap_or_default();
    }
    false
}

fn riff(head: &[u8]) -> Option<&'static str> {
    match head.get(8..12)? {
        b"WEBP" => Some("image/webp"),
        b"WAVE" => Some("audio/wav"),
        b"QLCM" => Some("audio/qcelp"),
        [b'A', b'V', b'I', _] => Some("video/vnd.avi"),
        _ => None,
    }
}

/// MP4 and its relatives, by the brand they say they are of.
fn iso_media(head: &[u8]) -> Option<&'static str> {
    let brand = head.get(8..12)?;
    // Not a letter: not a brand.
    if brand.first()? & 0x60 == 0 {
        return None;
    }
    Some(match brand {
        b"avif" | b"avis" => "image/avif",
        b"mif1" => "image/heif",
        b"msf1" => "image/heif-sequence",
        b"heic" | b"heix" => "image/heic",
        b"hevc" | b"hevx" => "image/heic-sequence",
        b"qt  " => "video/quicktime",
        b"M4V " | b"M4VH" | b"M4VP" => "video/x-m4v",
        b"M4B " | b"F4A " | b"F4B " => "audio/mp4",
        b"M4A " => "audio/x-m4a",
        b"crx " => "image/x-canon-cr3",
        [b'3', b'g', b'2', _] => "video/3gpp2",
        [b'3', b'g', ..] => "video/3gpp",
        _ => "video/mp4",
    })
}

/// WebM and Matroska, by the document type that stands in their header.
fn matroska(head: &[u8]) -> Option<&'static str> {
    const DOCUMENT_TYPE: &[u8] = b"\x42\x82";
    let at = head.windows(DOCUMENT_TYPE.len()).position(|window| window == DOCUMENT_TYPE)?;
    // Between the element's name and its content is a length of one byte or more.
    let text = head.get(at + DOCUMENT_TYPE.len()..)?;
    let text = text.get(..text.len().min(20))?;
    if text.windows(4).any(|window| window == b"webm") {
        Some("video/webm")
    } else {
        text.windows(8).any(|window| window == b"matroska").then_some("video/matroska")
    }
}

/// Ogg, by what its first packet begins with.
fn ogg(head: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 6] = [
        (b"OpusHead", "audio/ogg; codecs=opus"),
        (b"\x80theora", "video/ogg"),
        (b"\x01video\0", "video/ogg"),
        (b"\x7fFLAC", "audio/ogg"),
        (b"Speex  ", "audio/ogg"),
        (b"\x01vorbis", "audio/ogg"),
    ];
    KINDS.iter().find(|(bytes, _)| has(head, 28, bytes)).map_or("application/ogg", |(_, mime)| mime)
}

/// Zip, or what its first entry says is wrapped in it: a file `mimetype`, neither compressed nor encrypted.
fn zip(head: &[u8]) -> &'static str {
    const WRAPPED: [&str; 10] = [
        "application/epub+zip",
        "application/vnd.oasis.opendocument.graphics",
        "application/vnd.oasis.opendocument.graphics-template",
        "application/vnd.oasis.opendocument.presentation",
        "application/vnd.oasis.opendocument.presentation-template",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.spreadsheet-template",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.text-template",
        ZIP,
    ];
    let field = |at: usize| head.get(at..at + 2).map_or(0, |bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let stored = field(8) == 0 && has(head, 30, b"mimetype");
    let start = 38 + field(28);
    // The upper half of the length is 0 in any file whose type is read here.
    let text = head.get(start..start + field(18)).filter(|_| stored && field(26) == 8);
    let found = text.and_then(|text| WRAPPED.into_iter().find(|mime| mime.as_bytes() == text.trim_ascii()));
    found.unwrap_or(ZIP)
}

fn jpeg_2000(head: &[u8]) -> Option<&'static str> {
    match head.get(20..24)? {
        b"jp2 " => Some("image/jp2"),
        b"jpx " => Some("image/jpx"),
        b"jpm " => Some("image/jpm"),
        b"mjp2" => Some("image/mj2"),
        _ => None,
    }
}

/// What follows a tag of title and artist: nearly always MP3, and told apart where the tag ends early enough.
fn after_id3(head: &[u8]) -> Option<&'static str> {
    let length = head.get(6..10)?.iter().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    match head.get(10 + length..) {
        Some(rest) if rest.len() >= 12 => sniff(rest),
        _ => Some("audio/mpeg"),
    }
}

/// Packets of 188 bytes, or of 192 with a time before each.
fn is_transport_stream(head: &[u8]) -> bool {
    const SYNC: &[u8] = b"\x47";
    [(0, 188), (4, 196)].into_iter().any(|(one, next)| has(head, one, SYNC) && has(head, next, SYNC))
}

/// The header of a frame of MPEG audio.
fn mpeg_audio(head: &[u8]) -> Option<&'static str> {
    let &[0xff, kind, rates, _, ..] = head else { return None };
    if kind & 0xe0 != 0xe0 {
        return None;
    }
    if kind & 0x16 == 0x10 {
        return Some("audio/aac");
    }
    // Reserved: a version, a bit rate, a sampling rate, a layer. And the mark that texts in UTF-16 begin with.
    let reserved = kind & 0x18 == 0x08 || rates & 0xf0 == 0xf0 || rates & 0x0c == 0x0c || kind & 0x06 == 0;
    (!reserved && kind != 0xfe).then_some("audio/mpeg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_formats_are_told_from_their_first_bytes() {
        let known: [(&[u8], &str); 22] = [
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", "image/png"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x1cftypavif", "image/avif"),
            (b"\0\0\0\x18ftypheic", "image/heic"),
            (b"\0\0\0\x20ftypisom", "video/mp4"),
            (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
            (b"\0\0\0\x20ftypM4A ", "audio/x-m4a"),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
            (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", "video/matroska"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
            (b"ID3\x04\0\0\0\0\x7f\x7f", "audio/mpeg"),
            (b"\xff\xfb\x90\x64\0", "audio/mpeg"),
            (b"\xff\xf1\x50\x80\0", "audio/aac"),
            (b"%PDF-1.7", "application/pdf"),
            (b"PK\x03\x04\x14\0\0\0\x08\0", "application/zip"),
            (b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0", "image/bmp"),
            (b"WEBVTT\n\n", "text/vtt"),
            (b"\xef\xbb\xbf<?xml version", "application/xml"),
            (b"II*\0\x08\0\0\0", "image/tiff"),
            (b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead", "audio/ogg; codecs=opus"),
        ];
        for (head, expected) in known {
            assert_eq!(mime_type(head, "text/plain"), expected, "{head:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_what_its_sender_says() {
        let unknown: [&[u8]; 8] = [
            b"",
            b"B",
            b"BMW is a car",
            b"<svg xmlns=",
            b"\xff\xfeh\0i\0",
            b"WEBVTTX",
            b"RIFF",
            b"hello world, plainly",
        ];
        for head in unknown {
            assert_eq!(mime_type(head, "text/plain"), "text/plain", "{head:?}");
        }
    }

    #[test]
    fn an_archive_may_be_said_to_be_what_it_wraps() {
        let zip = b"PK\x03\x04\x14\0\0\0\x08\0";
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        assert_eq!(mime_type(zip, docx), docx);
        assert_eq!(mime_type(zip, "image/png"), "application/zip");
        let mut epub = b"PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\x14\0\0\0\x08\0\0\0mimetype".to_vec();
        epub.extend_from_slice(b"application/epub+zipPK");
        assert_eq!(mime_type(&epub, "application/zip"), "application/epub+zip");
    }

    #[test]
    fn an_animated_png_is_told_by_its_chunk() {
        let chunk = |name: &[u8], content: &[u8]| {
            let length = u32::try_from(content.len()).unwrap().to_be_bytes();
            [&length[..], name, content, &[0; 4]].concat()
        };
        let start = [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &[0; 13])].concat();
        let still = [&start[..], &chunk(b"IDAT", &[1]), &chunk(b"acTL", &[0; 8])].concat();
        let animated = [&start[..], &chunk(b"acTL", &[0; 8]), &chunk(b"IDAT", &[1])].concat();
        assert_eq!((mime_type(&still, ""), mime_type(&animated, "")), ("image/png".into(), "image/apng".into()));
    }

    #[test]
    fn no_beginning_makes_it_fail() {
        // Every format cut short at every length.
        let formats: Vec<Vec<u8>> = SIGNATURES.iter().map(|(bytes, _)| [bytes, &[0xff; 300][..]].concat()).collect();
        for format in &formats {
            for end in 0..format.len() {
                let _some_type = mime_type(&format[..end], "");
            }
        }
        for start in
            [&b"\x89PNG\r\n\x1a\n"[..], b"PK\x03\x04", b"ID3", b"RIFF", b"\0\0\0\0ftyp", b"\x1a\x45\xdf\xa3\x42\x82"]
        {
            let long = [start, &[0xff; 100]].concat();
            for end in 0..long.len() {
                let _some_type = mime_type(&long[..end], "");
            }
        }
    }
}
