//! CAR files: in chunks of any size the same comes out as from the whole, and what is accepted is written back.
#![no_main]

use bytes::Bytes;
use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use shared::repo::car::{self, Car, CarError, CarReader, MAX_BLOCK_LEN};

fuzz_target!(|data: &[u8]| {
    // The last bytes say how large the chunks are, in turn; so the file stays at the beginning.
    let (file, sizes) = data.split_at(data.len().saturating_sub(4));
    let limit = if sizes.first().is_some_and(|size| size & 1 == 1) { 64 } else { MAX_BLOCK_LEN };
    let whole = bounded(file.len(), || car::read(Bytes::copy_from_slice(file), limit));
    assert_eq!(bounded(file.len(), || chunked(file, sizes, limit)), whole);
    if let Ok(Car { roots, blocks }) = whole {
        let mut back = car::header(&roots);
        for block in &blocks {
            assert!(block.bytes.len() <= limit);
            assert_ne!(block.cid.matches(&block.bytes), Some(false));
            let len = back.len();
            car::section(&block.cid, &block.bytes, &mut back);
            assert_eq!(back.len() - len, car::section_len(&block.cid, block.bytes.len()));
        }
        assert_eq!(back, file);
    }
});

fn chunked(mut file: &[u8], sizes: &[u8], limit: usize) -> Result<Car, CarError> {
    let mut reader = CarReader::new(limit);
    let mut blocks = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !file.is_empty() {
        let size = usize::from(sizes.next().copied().unwrap_or(1)).clamp(1, file.len());
        let (chunk, rest) = file.split_at(size);
        file = rest;
        reader.push(Bytes::copy_from_slice(chunk));
        // Now and then a chunk has to wait for the next one.
        if size % 3 == 0 && !file.is_empty() {
            continue;
        }
        while let Some(block) = reader.next_block()? {
            blocks.push(block);
        }
    }
    let roots = reader.roots().unwrap_or_default().to_vec();
    reader.finish()?;
    Ok(Car { roots, blocks })
}
