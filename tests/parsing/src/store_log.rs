//! The journal of a store in memory.

use stoke_store::memory::journal::log::{self, Log, LogFault};

/// What is read can be written, and reads the same; a log that is cut at the end of what is whole reads the same, and one
/// with an interrupted write behind it, too. What is told of a damaged one is a place in it.
///
/// # Panics
/// Where that is not so.
pub fn store_log(bytes: &[u8]) {
    let Log {
        contents,
        whole_bytes,
    } = match log::read(bytes) {
        Ok(log) => log,
        Err(LogFault::NotALog) => return,
        Err(LogFault::Newer { at, .. } | LogFault::Damaged { at, .. }) => {
            return assert!(at < bytes.len());
        }
    };
    let again = |bytes: &[u8]| log::read(bytes).expect("it was read before");
    let cut = again(&bytes[..whole_bytes]);
    assert_eq!((&cut.contents, cut.whole_bytes), (&contents, whole_bytes));
    let snapshot = log::snapshot(&contents).expect("it is small");
    assert_eq!(
        again(&snapshot),
        Log {
            contents: contents.clone(),
            whole_bytes: snapshot.len()
        }
    );
    let interrupted = [&snapshot, &bytes[..bytes.len().min(15)]].concat();
    assert_eq!(again(&interrupted).contents, contents);
}
