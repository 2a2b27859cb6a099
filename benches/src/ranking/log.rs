//! A made-up access log.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How many accesses it has of a second.
const SECOND: u64 = 1000;

/// What its URLs are of.
pub(super) const PATTERN: &str = "/product/{id}";

/// Writes so many lines that ask for up to so many keys, compressed; how many bytes they have uncompressed. The nth key is asked for
/// n times less often than the first.
pub(super) fn write(path: &Path, lines: u64, keys: u64) -> Result<u64> {
    let file = File::create(path).context("creating the log")?;
    let mut gzip = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(file)
        .spawn()
        .context("starting gzip")?;
    let input = gzip.stdin.take().context("gzip has an input")?;
    let mut input = BufWriter::with_capacity(1 << 20, input);
    let mut random = StdRng::seed_from_u64(7);
    let mut bytes = 0;
    let mut line = Vec::new();
    for n in 0..lines {
        line.clear();
        let key = zipf(&mut random, keys);
        // So that the most requested are not the ones with the shortest names.
        let id = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1_000_000_007;
        let (hour, minute, second) = (
            n / SECOND / 3600 % 24,
            n / SECOND / 60 % 60,
            n / SECOND % 60,
        );
        let client = random.random_range(1..255u8);
        let size = random.random_range(200..20_000u32);
        writeln!(
            line,
            "10.0.{client}.7 - - [28/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"GET /product/{id} HTTP/1.1\" 200 {size} \
             \"https://shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\""
        )?;
        input.write_all(&line)?;
        bytes += line.len() as u64;
    }
    drop(input.into_inner().context("writing the log")?);
    ensure!(gzip.wait()?.success(), "gzip failed");
    Ok(bytes)
}

/// A number from 1 on, by Zipf's law with the exponent 1, whose distribution is that of the logarithm, uniform.
fn zipf(random: &mut StdRng, keys: u64) -> u64 {
    let uniform: f64 = random.random();
    let key = ((keys as f64 + 1.0).ln() * uniform).exp();
    (key as u64).clamp(1, keys)
}
