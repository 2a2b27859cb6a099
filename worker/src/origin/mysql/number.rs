//! Numbers from MySQL's binary form into digits that are a number in JSON.

use std::io::Write;

use super::kind::Integer;
use super::value::{Fault, exactly};

/// From here on a float has an exponent, and below the other: as MySQL shows it.
const PLAIN_MAX: f64 = 1e15;
const PLAIN_MIN: f64 = 1e-5;

/// Whole numbers are little-endian; a medium one has a byte to spare, filled with its sign.
pub(super) fn whole(kind: Integer, bytes: &[u8]) -> Result<i128, Fault> {
    Ok(match (kind.bits, kind.signed) {
        (8, true) => i128::from(i8::from_le_bytes(exactly(bytes)?)),
        (8, false) => i128::from(u8::from_le_bytes(exactly(bytes)?)),
        (16, true) => i128::from(i16::from_le_bytes(exactly(bytes)?)),
        (16, false) => i128::from(u16::from_le_bytes(exactly(bytes)?)),
        (24 | 32, true) => i128::from(i32::from_le_bytes(exactly(bytes)?)),
        (24 | 32, false) => i128::from(u32::from_le_bytes(exactly(bytes)?)),
        (_, true) => i128::from(i64::from_le_bytes(exactly(bytes)?)),
        (_, false) => i128::from(u64::from_le_bytes(exactly(bytes)?)),
    })
}

pub(super) fn integer(kind: Integer, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}", whole(kind, bytes)?);
    Ok(())
}

pub(super) fn year(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let _ = write!(out, "{}", u16::from_le_bytes(exactly(bytes)?));
    Ok(())
}

/// Bits come in as few bytes as hold them, the first the highest.
pub(super) fn bit(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if bytes.len() > 8 {
        return Err(Fault::Malformed);
    }
    let number = bytes
        .iter()
        .fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    let _ = write!(out, "{number}");
    Ok(())
}

/// The fewest digits that read back as the same number.
pub(super) fn float(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let number = f32::from_le_bytes(exactly(bytes)?);
    lay_out(number.into(), number, out)
}

/// As [`float`].
pub(super) fn double(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let number = f64::from_le_bytes(exactly(bytes)?);
    lay_out(number, number, out)
}

fn lay_out<F>(wide: f64, number: F, out: &mut Vec<u8>) -> Result<(), Fault>
where
    F: std::fmt::Display + std::fmt::LowerExp,
{
    if !wide.is_finite() {
        return Err(Fault::NoForm("a number that is not finite"));
    }
    let plain = wide == 0.0 || (PLAIN_MIN..PLAIN_MAX).contains(&wide.abs());
    let _ = if plain {
        write!(out, "{number}")
    } else {
        write!(out, "{number:e}")
    };
    Ok(())
}

/// A decimal number comes as its digits; where it is filled up with zeros, those are none of a number in JSON.
pub(super) fn decimal(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let (sign, digits) = match bytes {
        [b'-', digits @ ..] => (&b"-"[..], digits),
        digits => (&b""[..], digits),
    };
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let fraction = match &digits[whole..] {
        [] => &digits[..0],
        [b'.', fraction @ ..] if !fraction.is_empty() => fraction,
        _ => return Err(Fault::Malformed),
    };
    if !fraction.iter().all(u8::is_ascii_digit) || digits.is_empty() {
        return Err(Fault::Malformed);
    }
    let zeros = digits[..whole].iter().take_while(|&&b| b == b'0').count();
    out.extend_from_slice(sign);
    if zeros == whole {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[zeros..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>) -> Result<String, Fault> {
        let mut out = Vec::new();
        write(&mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn whole_numbers_are_read_by_width_and_sign() {
        for (bits, signed, bytes, written) in [
            (8, true, &[0x80][..], "-128"),
            (8, false, &[0x80], "128"),
            (16, true, &[0xff, 0xff], "-1"),
            (16, false, &[0xff, 0xff], "65535"),
            (24, true, &[0, 0, 0x80, 0xff], "-8388608"),
            (24, false, &[0xff, 0xff, 0xff, 0], "16777215"),
            (32, true, &[0, 0, 0, 0x80], "-2147483648"),
            (
                64,
                true,
                &[0, 0, 0, 0, 0, 0, 0, 0x80],
                "-9223372036854775808",
            ),
            (64, false, &[0xff; 8], "18446744073709551615"),
        ] {
            let kind = Integer { bits, signed };
            assert_eq!(text(|out| integer(kind, bytes, out)).unwrap(), written);
        }
        let short = Integer {
            bits: 32,
            signed: true,
        };
        assert_eq!(text(|out| integer(short, &[1], out)), Err(Fault::Malformed));
        assert_eq!(text(|out| bit(&[1, 0], out)).unwrap(), "256");
        assert_eq!(
            text(|out| bit(&[0xff; 8], out)).unwrap(),
            "18446744073709551615"
        );
        assert_eq!(text(|out| year(&[0xe8, 0x07], out)).unwrap(), "2024");
    }

    #[test]
    fn decimals_keep_their_digits_and_lose_zeros_in_front() {
        for (sent, written) in [
            ("0.00", "0.00"),
            ("-12.50", "-12.50"),
            ("00012.50", "12.50"),
            ("000", "0"),
            (
                "12345678901234567890123456789012345",
                "12345678901234567890123456789012345",
            ),
        ] {
            assert_eq!(text(|out| decimal(sent.as_bytes(), out)).unwrap(), written);
        }
        for sent in ["", "-", "1.", "1e3", "1.2.3", "x"] {
            let read = text(|out| decimal(sent.as_bytes(), out));
            assert_eq!(read, Err(Fault::Malformed), "{sent}");
        }
    }

    #[test]
    fn floats_are_laid_out_as_mysql_does() {
        for (value, written) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (0.00001, "0.00001"),
            (0.000_001, "1e-6"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e15"),
            (-1.5e300, "-1.5e300"),
        ] {
            let bytes = f64::to_le_bytes(value);
            assert_eq!(text(|out| double(&bytes, out)).unwrap(), written);
        }
        assert_eq!(
            text(|out| float(&0.1_f32.to_le_bytes(), out)).unwrap(),
            "0.1"
        );
        assert!(text(|out| double(&f64::NAN.to_le_bytes(), out)).is_err());
    }

    proptest! {
        #[test]
        fn a_float_is_read_back_as_itself_and_is_json(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let written = text(|out| double(&value.to_le_bytes(), out)).unwrap();
            prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits);
            prop_assert!(serde_json::from_str::<serde_json::Number>(&written).is_ok(), "{}", written);
        }
    }
}
