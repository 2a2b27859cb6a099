//! Scripts: what Redis has no command for, done whole or not at all.
//!
//! Each is about one key, and is sent as it is with every command: a server that has restarted, or is another one, knows it as
//! well. What Redis says against a command in a script is handed on as it is (old versions wrap what a script lets fail).

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;

use super::command::Keep;
use crate::value::Value;

/// Leaves what has at least ARGV[1] milliseconds to live, or lives for ever; -1: nothing is left.
const LEAVE: &str = "\
local key, r, floor = KEYS[1], nil, tonumber(ARGV[1]) \
local left = redis.call('PTTL', key) \
if floor >= 0 and left ~= -2 and (left == -1 or left >= floor) then return false end ";

/// Behind [`LEAVE`]: writes the string ARGV[3], which lives for ARGV[2] milliseconds.
const SET: &str = "return redis.pcall('SET', key, ARGV[3], 'PX', ARGV[2])";

/// Behind [`LEAVE`]: writes the hash of the fields and values from ARGV[3] on, which lives for ARGV[2] milliseconds. They go in by
/// parts, as a call has only so much room. Only what is there is deleted: a script that has written anything, even by a DEL of
/// nothing, is not asked any more whether there is memory.
const SET_HASH: &str = "\
local function bad() return type(r) == 'table' and r.err end \
if left ~= -2 then \
r = redis.pcall('DEL', key) \
if bad() then return r end \
end \
for i = 3, #ARGV, 4000 do \
if not bad() then r = redis.pcall('HSET', key, unpack(ARGV, i, math.min(i + 3999, #ARGV))) end \
end \
if not bad() then r = redis.pcall('PEXPIRE', key, ARGV[2]) end \
if bad() then redis.pcall('DEL', key) return r end \
return redis.status_reply('OK')";

/// Behind [`LEAVE`]: writes what the command ARGV[4] makes of the arguments behind it, by parts, and lets ARGV[2] of ARGV[3]
/// milliseconds end it; `-`: nothing does.
const WRITE: &str = "\
local function bad() return type(r) == 'table' and r.err end \
if left ~= -2 then \
r = redis.pcall('DEL', key) \
if bad() then return r end \
end \
for i = 5, #ARGV, 4000 do \
if not bad() then r = redis.pcall(ARGV[4], key, unpack(ARGV, i, math.min(i + 3999, #ARGV))) end \
end \
if ARGV[2] ~= '-' and not bad() then r = redis.pcall(ARGV[2], key, ARGV[3]) end \
if bad() then redis.pcall('DEL', key) return r end \
return redis.status_reply('OK')";

/// Whether the key is the string ARGV[2].
const IS_STRING: &str = "\
local key = KEYS[1] \
if redis.call('TYPE', key).ok ~= 'string' or redis.call('GET', key) ~= ARGV[2] then return 0 end ";

/// Whether the key is the hash of the fields and values from ARGV[2] on.
const IS_HASH: &str = "\
local key = KEYS[1] \
if redis.call('TYPE', key).ok ~= 'hash' or redis.call('HLEN', key) ~= (#ARGV - 1) / 2 then return 0 end \
for i = 2, #ARGV, 2 do \
if redis.call('HGET', key, ARGV[i]) ~= ARGV[i + 1] then return 0 end \
end ";

/// Behind one of these two: gives the key ARGV[1] milliseconds to live; -1: deletes it.
const SETTLE: &str = "\
if ARGV[1] == '-1' then return redis.pcall('DEL', key) end \
return redis.pcall('PEXPIRE', key, ARGV[1])";

static SET_STRING: LazyLock<String> = LazyLock::new(|| [LEAVE, SET].concat());
static SET_FIELDS: LazyLock<String> = LazyLock::new(|| [LEAVE, SET_HASH].concat());
static WRITE_TYPED: LazyLock<String> = LazyLock::new(|| [LEAVE, WRITE].concat());
static SETTLE_STRING: LazyLock<String> = LazyLock::new(|| [IS_STRING, SETTLE].concat());
static SETTLE_HASH: LazyLock<String> = LazyLock::new(|| [IS_HASH, SETTLE].concat());

/// Writes a string: by the command that Redis has, where it has one.
pub(super) fn set(key: &[u8], value: &[u8], ttl_ms: u64, keep: Keep, size_bytes: usize) -> Cmd {
    let mut cmd = Cmd::with_capacity(8, size_bytes);
    match keep {
        Keep::Longer(floor) => {
            cmd.arg("EVAL").arg(&*SET_STRING).arg(1).arg(key);
            cmd.arg(longer_than(floor)).arg(ttl_ms).arg(value);
        }
        Keep::All | Keep::Nothing => {
            cmd.arg("SET").arg(key).arg(value);
            if keep == Keep::All {
                cmd.arg("NX");
            }
            cmd.arg("PX").arg(ttl_ms);
        }
    }
    cmd
}

/// Writes a hash.
pub(super) fn set_hash(
    key: &[u8],
    fields: &[(Bytes, Bytes)],
    ttl_ms: u64,
    keep: Keep,
    size_bytes: usize,
) -> Cmd {
    let mut cmd = Cmd::with_capacity(6 + 2 * fields.len(), size_bytes);
    cmd.arg("EVAL").arg(&*SET_FIELDS).arg(1).arg(key);
    add_floor(&mut cmd, keep);
    cmd.arg(ttl_ms);
    add_fields(&mut cmd, fields);
    cmd
}

/// Begins what writes by this command, whose arguments behind the key are to be added: in place of whatever the key has, all or
/// nothing. `expiry`: the command that gives it an end, and its argument.
pub(super) fn begin_write(
    cmd: &mut Cmd,
    key: &[u8],
    keep: Keep,
    expiry: Option<(&str, u64)>,
    command: &str,
) {
    cmd.arg("EVAL").arg(&*WRITE_TYPED).arg(1).arg(key);
    add_floor(cmd, keep);
    let (expire, ms) = expiry.unwrap_or(("-", 0));
    cmd.arg(expire).arg(ms).arg(command);
}

fn add_floor(cmd: &mut Cmd, keep: Keep) {
    match keep {
        Keep::Nothing => cmd.arg(-1),
        Keep::All => cmd.arg(0),
        Keep::Longer(floor) => cmd.arg(longer_than(floor)),
    };
}

/// Where the key still has this value, gives it a new TTL, or deletes it.
pub(super) fn settle(key: &[u8], value: &Value, ttl_ms: Option<u64>, size_bytes: usize) -> Cmd {
    let script = match value {
        Value::String(_) => &SETTLE_STRING,
        Value::Hash(_) => &SETTLE_HASH,
        Value::Copied(_) => unreachable!("what is copied has no version"),
    };
    let mut cmd = Cmd::with_capacity(8, size_bytes);
    cmd.arg("EVAL").arg(&**script).arg(1).arg(key);
    match ttl_ms {
        Some(ttl_ms) => cmd.arg(ttl_ms),
        None => cmd.arg(-1),
    };
    match value {
        Value::String(value) => {
            cmd.arg(&value[..]);
        }
        Value::Hash(fields) => add_fields(&mut cmd, fields),
        Value::Copied(_) => {}
    }
    cmd
}

fn add_fields(cmd: &mut Cmd, fields: &[(Bytes, Bytes)]) {
    for (field, value) in fields {
        cmd.arg(&field[..]).arg(&value[..]);
    }
}

/// The fewest whole milliseconds that are longer.
fn longer_than(floor: Duration) -> u64 {
    let ms = u64::try_from(floor.as_millis()).unwrap_or(u64::MAX);
    ms.saturating_add(1)
}
