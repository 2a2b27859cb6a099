//! Numbers from PostgreSQL's binary form into the digits that it would write itself.

use std::io::Write;
use std::ops::Range;

use serde::Serialize;

use super::value::Fault;

/// Between these powers of ten, exclusive above, PostgreSQL writes a float without an exponent.
const FLOAT4_PLAIN: Range<i32> = -4..6;
const FLOAT8_PLAIN: Range<i32> = -4..15;

pub(super) fn float4(value: f32, out: &mut Vec<u8>) -> Result<(), Fault> {
    float(
        value,
        value.into(),
        f32::MANTISSA_DIGITS,
        &FLOAT4_PLAIN,
        out,
    )
}

pub(super) fn float8(value: f64, out: &mut Vec<u8>) -> Result<(), Fault> {
    float(value, value, f64::MANTISSA_DIGITS, &FLOAT8_PLAIN, out)
}

/// A float's shortest digits are those that Ryu finds, in PostgreSQL as here; of two that are as short and as near, the
/// even one. But PostgreSQL takes none that lie exactly half-way to the next float: it then writes more digits.
fn float<F>(
    value: F,
    wide: f64,
    mantissa_bits: u32,
    plain: &Range<i32>,
    out: &mut Vec<u8>,
) -> Result<(), Fault>
where
    F: Serialize + std::fmt::LowerExp,
{
    if wide.is_nan() {
        return Err(Fault::NoForm("NaN"));
    }
    if wide.is_infinite() {
        return Err(Fault::NoForm("Infinity"));
    }
    if wide.is_sign_negative() {
        out.push(b'-');
    }
    let mut digits = [0; TEXT_MAX];
    let written = written(|text| serde_json::to_writer(text, &value).is_ok())?;
    let (mut count, mut exponent) = significant(&written, &mut digits);
    let mut more = count;
    while more < DIGITS_MAX && is_halfway(&digits[..count], exponent, wide.abs(), mantissa_bits) {
        let longer = self::written(|mut text| write!(text, "{value:.more$e}").is_ok())?;
        (count, exponent) = significant(&longer, &mut digits);
        more += 1;
    }
    lay_out(&digits[..count], exponent, plain, out);
    Ok(())
}

/// So many digits tell every float from its neighbours.
const DIGITS_MAX: usize = 17;
/// The longest text of a float here: 18 digits, a sign, a point, leading zeros and an exponent of 5 characters.
const TEXT_MAX: usize = 32;

/// What is written into a buffer, zeros behind.
fn written(write: impl FnOnce(&mut [u8]) -> bool) -> Result<[u8; TEXT_MAX], Fault> {
    let mut buffer = [0; TEXT_MAX];
    if write(&mut buffer) {
        Ok(buffer)
    } else {
        Err(Fault::Malformed)
    }
}

/// Whether a decimal number is exactly half-way between a float and one of its neighbours. Both are compared as an odd
/// number times a power of two, in integers.
fn is_halfway(digits: &[u8], exponent: i32, value: f64, mantissa_bits: u32) -> bool {
    /// Odd numbers half-way between floats have at most 55 bits: no multiple of a higher power of five is one, and digits
    /// that have a higher one as a divisor would be more than 17.
    const FIVES_MAX: u32 = 24;
    let number = digits
        .iter()
        .fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    // The number is `number` times ten to the power of `tens`.
    let tens = exponent + 1 - i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let fives = tens.unsigned_abs();
    if number == 0 || fives > FIVES_MAX {
        return false;
    }
    let factor = 5_u128.pow(fives);
    let odd = match (tens >= 0, number % factor) {
        (true, _) => number * factor,
        (false, 0) => number / factor,
        (false, _) => return false,
    };
    let decimal = reduced(odd, tens);
    let bits = value.to_bits();
    let (fraction, power) = (
        bits & ((1 << 52) - 1),
        i32::try_from(bits >> 52).unwrap_or(0),
    );
    let (mantissa, power) = if power == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, power - 1075)
    };
    // A float of fewer bits has zeros at the end. (Where it is subnormal it has more; no such half is a short decimal.)
    let spare = 53 - mantissa_bits;
    let (mantissa, power) = (
        u128::from(mantissa >> spare),
        power + i32::try_from(spare).unwrap_or(0),
    );
    let below = if mantissa == 1 << (mantissa_bits - 1) {
        // Below a power of two, the neighbour is only half as far.
        (4 * mantissa - 1, power - 2)
    } else {
        (2 * mantissa - 1, power - 1)
    };
    let above = (2 * mantissa + 1, power - 1);
    [below, above]
        .into_iter()
        .any(|(halfway, power)| reduced(halfway, power) == decimal)
}

/// `number` times two to the power of `power`, with an odd number.
fn reduced(number: u128, power: i32) -> (u128, i32) {
    let zeros = number.trailing_zeros();
    (number >> zeros, power + i32::try_from(zeros).unwrap_or(0))
}

/// Takes a number apart, however it is written: its significant digits, how many there are, and the power of ten of the
/// first. Zero has one digit.
fn significant(text: &[u8; TEXT_MAX], digits: &mut [u8; TEXT_MAX]) -> (usize, i32) {
    let mut count = 0;
    let mut exponent = -1;
    let mut point_seen = false;
    for (i, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => point_seen = true,
            b'0'..=b'9' => {
                let leading = count == 0 && byte == b'0';
                if !leading {
                    digits[count] = byte;
                    count += 1;
                }
                // Before the point, each digit raises the first one; behind it, each leading zero lowers it.
                exponent += i32::from(!point_seen && !leading) - i32::from(point_seen && leading);
            }
            b'e' | b'E' => {
                let written = std::str::from_utf8(&text[i + 1..]).ok();
                let written = written.map(|written| written.trim_end_matches('\0'));
                exponent += written
                    .and_then(|written| written.parse().ok())
                    .unwrap_or(0);
                break;
            }
            _ => {}
        }
    }
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    if count == 0 {
        digits[0] = b'0';
        return (1, 0);
    }
    (count, exponent)
}

/// Writes digits the way PostgreSQL does: plain, or with an exponent of two digits at least.
fn lay_out(digits: &[u8], exponent: i32, plain: &Range<i32>, out: &mut Vec<u8>) {
    let distance = exponent.unsigned_abs() as usize;
    if !plain.contains(&exponent) {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a vector cannot fail.
        let _ = write!(out, "e{sign}{distance:02}");
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', distance - 1));
        out.extend_from_slice(digits);
    } else {
        let whole = digits.len().min(distance + 1);
        out.extend_from_slice(&digits[..whole]);
        out.extend(std::iter::repeat_n(b'0', distance + 1 - whole));
        if digits.len() > whole {
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;
const NUMERIC_INFINITY: u16 = 0xD000;
const NUMERIC_MINUS_INFINITY: u16 = 0xF000;

/// A `numeric` with all its digits, those after the point as many as its scale says.
pub(super) fn numeric(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let word = |i: usize| -> Result<u16, Fault> {
        let pair = bytes.get(2 * i..2 * i + 2).ok_or(Fault::Malformed)?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let (count, weight, sign, scale) = (
        usize::from(word(0)?),
        word(1)?.cast_signed(),
        word(2)?,
        usize::from(word(3)?),
    );
    match sign {
        0 => {}
        NUMERIC_NEGATIVE => out.push(b'-'),
        NUMERIC_NAN => return Err(Fault::NoForm("NaN")),
        NUMERIC_INFINITY | NUMERIC_MINUS_INFINITY => return Err(Fault::NoForm("Infinity")),
        _ => return Err(Fault::Malformed),
    }
    if bytes.len() != 8 + 2 * count {
        return Err(Fault::Malformed);
    }
    // Groups of four digits; the one at 0 stands before the point. Groups that are not sent are zero.
    let group = |position: i32| -> Result<u16, Fault> {
        match usize::try_from(i32::from(weight) - position) {
            Ok(index) if index < count => word(4 + index),
            _ => Ok(0),
        }
    };
    let _ = write!(out, "{}", group(i32::from(weight.max(0)))?);
    for position in (0..i32::from(weight)).rev() {
        let _ = write!(out, "{:04}", group(position)?);
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + scale;
        for position in 1.. {
            if out.len() >= end {
                break;
            }
            let _ = write!(out, "{:04}", group(-position)?);
        }
        out.truncate(end);
    }
    Ok(())
}

/// How PostgreSQL shows a `numeric` that is no finite number.
pub(super) fn not_finite(bytes: &[u8]) -> Option<&'static str> {
    let sign = bytes.get(4..6)?;
    match u16::from_be_bytes([sign[0], sign[1]]) {
        NUMERIC_NAN => Some("NaN"),
        NUMERIC_INFINITY => Some("Infinity"),
        NUMERIC_MINUS_INFINITY => Some("-Infinity"),
        _ => None,
    }
}

/// The binary form of a decimal number in its canonical text: an optional sign, digits, optionally a point and digits.
pub(super) fn encode_numeric(canonical: &str, out: &mut Vec<u8>) {
    let (negative, digits) = canonical
        .strip_prefix('-')
        .map_or((false, canonical), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let tail = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let group = |chunk: &[u8]| {
        chunk
            .iter()
            .fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'))
    };
    let groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .chain(tail.as_bytes().chunks(4))
        .map(group)
        .collect();
    let weight = padded.len() / 4;
    let leading = groups.iter().take_while(|&&group| group == 0).count();
    let trailing = groups[leading..]
        .iter()
        .rev()
        .take_while(|&&group| group == 0)
        .count();
    let sent = &groups[leading..groups.len() - trailing];
    // Canonical texts have at most NUMERIC_DIGITS_MAX digits: none of these overflows.
    let word = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    let weight = if sent.is_empty() {
        0
    } else {
        i16::try_from(weight).unwrap_or(i16::MAX) - 1 - i16::try_from(leading).unwrap_or(0)
    };
    out.extend_from_slice(&word(sent.len()));
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&(if negative { NUMERIC_NEGATIVE } else { 0 }).to_be_bytes());
    out.extend_from_slice(&word(fraction.len()));
    for group in sent {
        out.extend_from_slice(&group.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), Fault>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_laid_out_as_postgresql_does() {
        for (value, written) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (-12.75, "-12.75"),
            (0.1, "0.1"),
        ] {
            assert_eq!(text(|out| float8(value, out)), written);
        }
        for (value, written) in [
            (123_456.0_f32, "123456"),
            (1e6, "1e+06"),
            (0.1, "0.1"),
            (3.402_823_5e38, "3.4028235e+38"),
        ] {
            assert_eq!(text(|out| float4(value, out)), written);
        }
        assert_eq!(float8(f64::NAN, &mut Vec::new()), Err(Fault::NoForm("NaN")));
        assert_eq!(
            float4(f32::NEG_INFINITY, &mut Vec::new()),
            Err(Fault::NoForm("Infinity"))
        );
    }

    proptest! {
        #[test]
        fn a_float_is_read_back_as_itself(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(|out| float8(value, out)).parse::<f64>().unwrap().to_bits(), bits);
        }

        #[test]
        fn a_decimal_number_survives_its_binary_form(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{0,30}[1-9])?") {
            prop_assume!(number != "-0");
            let mut bytes = Vec::new();
            encode_numeric(&number, &mut bytes);
            prop_assert_eq!(text(|out| numeric(&bytes, out)), number);
        }
    }
}
