//! MessagePack: what JSON has one kind of number and of text for, it has several for.

use rmp::encode;

use super::{Row, Scalar};
use crate::origin::sheet::Reason;

/// Writes the head of a map with so many members.
pub(super) fn map(members: usize, out: &mut Vec<u8>) {
    // A row has far fewer columns than 2³²; and writing to a vector cannot fail.
    let _ = encode::write_map_len(out, u32::try_from(members).unwrap_or(u32::MAX));
}

/// A member's key.
pub(super) fn key(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 5);
    let _ = encode::write_str(&mut out, name);
    out
}

/// Writes a NULL.
pub(super) fn nil(out: &mut Vec<u8>) {
    let _ = encode::write_nil(out);
}

/// Writes a column that is not NULL; `text` is only there to be used again.
pub(super) fn column(
    row: &impl Row,
    column: usize,
    text: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), Reason> {
    text.clear();
    match row.scalar(column)? {
        Scalar::Bool(bool) => drop(encode::write_bool(out, bool)),
        Scalar::Integer(integer) => drop(encode::write_sint(out, integer)),
        Scalar::Unsigned(integer) => drop(encode::write_uint(out, integer)),
        Scalar::Single(float) => drop(encode::write_f32(out, float)),
        Scalar::Double(float) => drop(encode::write_f64(out, float)),
        Scalar::Bytes(bytes) => drop(encode::write_bin(out, bytes)),
        Scalar::Text => {
            row.text(column, text)?;
            let text = std::str::from_utf8(text).map_err(|_| super::not_utf8(column))?;
            drop(encode::write_str(out, text));
        }
        Scalar::Json => {
            row.json(column, text)?;
            from_json(text, out)?;
        }
    }
    Ok(())
}

/// Writes a JSON text as MessagePack: whole numbers of up to 64 bits as such, others as 64-bit floats.
fn from_json(json: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut writer = rmp_serde::Serializer::new(out);
    serde_transcode::transcode(&mut reader, &mut writer)
        .map_err(|error| format!("a JSON text cannot be written as MessagePack: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_texts_keep_order_and_whole_numbers() {
        let mut out = Vec::new();
        from_json(
            b"{\"b\":[1,-2,18446744073709551615,1.5,null,true],\"a\":\"x\"}",
            &mut out,
        )
        .unwrap();
        let expected = [
            &[0x82, 0xa1, b'b', 0x96, 1, 0xfe, 0xcf][..],
            &[0xff; 8],
            &[
                0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0xc3, 0xa1, b'a', 0xa1, b'x',
            ],
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn what_is_nested_without_end_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let error = from_json(deep.as_bytes(), &mut Vec::new()).unwrap_err();
        assert!(error.contains("recursion limit"), "{error}");
    }
}
