//! Files that gzip or zstd have compressed, told by how they begin and not by any name.

use std::io::{self, BufRead, BufReader, Read};

/// How a file begins that gzip has made, and one of zstd's.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// How a frame of zstd's begins that has nothing of the content (RFC 8878, 3.1.2), behind a byte from 0x50 to 0x5f: pzstd puts one before
/// each of the others.
const ZSTD_SKIPPED: &[u8] = b"\x2a\x4d\x18";
/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// The content of a file.
pub(super) fn decompressed(reader: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let mut start = Vec::with_capacity(ZSTD.len());
    reader
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut start)?;
    let is_skipped = || matches!(start.split_first(), Some((0x50..=0x5f, ZSTD_SKIPPED)));
    let (is_gzip, is_zstd) = (
        start.starts_with(GZIP),
        start.starts_with(ZSTD) || is_skipped(),
    );
    let whole = io::Cursor::new(start).chain(reader);
    // Several of them behind one another are one file, as after `cat`.
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            flate2::bufread::MultiGzDecoder::new(whole),
        ))
    } else if is_zstd {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            zstd::Decoder::with_buffer(whole)?,
        ))
    } else {
        Box::new(whole)
    })
}

/// What is said, beside the error itself, of a file that ends too early.
pub(super) fn truncated(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            ": it ends in the middle of what is compressed, as a file does that is still written, or was not copied whole"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        decompressed(io::Cursor::new(bytes.to_vec()))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_file_is_read_as_what_it_is_whatever_it_is_called() {
        assert_eq!(content(b"").unwrap(), "");
        assert_eq!(content(b"a").unwrap(), "a");
        assert_eq!(content(b"plain\n").unwrap(), "plain\n");
        assert_eq!(content(&gzip("a\nb\n")).unwrap(), "a\nb\n");
        let two = [gzip("a\n"), gzip("b\n")].concat();
        assert_eq!(content(&two).unwrap(), "a\nb\n");
        let frame = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
        assert_eq!(
            content(&[frame("a\n"), frame("b\n")].concat()).unwrap(),
            "a\nb\n"
        );
        let skipped = |content: &[u8]| [b"\x50\x2a\x4d\x18\x04\0\0\0size", content].concat();
        let parallel = [skipped(&frame("a\n")), skipped(&frame("b\n"))].concat();
        assert_eq!(content(&parallel).unwrap(), "a\nb\n");
        for cut in [gzip(&"line\n".repeat(1000)), frame(&"line\n".repeat(1000))] {
            let error = content(&cut[..cut.len() - 9]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
