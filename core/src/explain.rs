//! Errors for people: one line with all causes.

use std::error::Error;

/// The error's text, followed by those of its causes. A cause whose text the one before it repeats is left out: drivers do
/// that.
#[must_use]
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("refused: port closed")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("port closed")]
    struct Inner;

    #[test]
    fn causes_follow_once() {
        assert_eq!(
            explain(&Outer(Middle(Inner))),
            "cannot connect: refused: port closed"
        );
    }
}
