//! Answers that are streams: each is a task that sends into a bounded queue, and ends when nobody listens, the call's
//! deadline is over, or the coordinator stops.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

use super::refusal::Refusal;

/// A stream of answers.
pub(super) type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where a stream's messages go.
pub(super) type Sending<T> = mpsc::Sender<Result<T, Status>>;

/// How long a call may take, as its caller says: tonic honours it until an answer begins, this for the rest.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Answers with what `send` sends. Its end, well or with a refusal, is the stream's; `permit` is held until then.
pub(super) fn answer<T, F>(
    queue: usize,
    permit: OwnedSemaphorePermit,
    deadline: Option<Duration>,
    cancel: &CancellationToken,
    send: impl FnOnce(Sending<T>) -> F,
) -> Response<Answers<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(queue);
    let (sending, cancel) = (send(sender.clone()), cancel.clone());
    tokio::spawn(async move {
        let _permit = permit;
        let over = async {
            match deadline {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = sending => ended,
            // Whoever does not read is told nothing more, and keeps nothing here.
            () = sender.closed() => return,
            () = over => Err(Refusal::Deadline),
            () = cancel.cancelled() => Err(Refusal::Stopping),
        };
        if let Err(refusal) = ended {
            // A full queue means that nobody reads: the last word is worth no waiting for ever.
            tokio::select! {
                _ = sender.send(Err(refusal.into())) => {}
                () = tokio::time::sleep(LAST_WORD_MAX) => {}
            }
        }
    });
    Response::new(Box::pin(ReceiverStream::new(receiver)))
}

/// How long the last word of a stream may wait for a caller who does not read.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_what_the_caller_says_in_whatever_unit() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("4S", Some(Duration::from_secs(4))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("-1S", None),
            ("1x", None),
            ("1ä", None),
        ] {
            let mut metadata = MetadataMap::new();
            if let Ok(value) = text.parse() {
                metadata.insert("grpc-timeout", value);
            }
            assert_eq!(deadline(&metadata), expected, "{text:?}");
        }
    }
}
