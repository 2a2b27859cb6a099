//! Answers that are streams: each is a task that sends into a bounded queue, and ends when nobody listens, the call's
//! deadline is over, or the coordinator stops.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
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
    let (last_word, said) = oneshot::channel();
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
            // Beside the queue, which is full where nobody reads: whoever reads on later must not take what is there for all.
            let _ = last_word.send(Err(refusal.into()));
        }
    });
    let said = futures::stream::once(said).filter_map(async |said| said.ok());
    Response::new(Box::pin(ReceiverStream::new(receiver).chain(said)))
}

/// How long a list or an export may wait for its caller to read on: it keeps its place among the few that may be open.
/// (Watches may wait: they are levels, and there may be many.)
pub(super) const UNREAD_MAX: Duration = Duration::from_secs(60);

/// Sends a message of a list to whoever reads it. `false`: nobody listens any more.
///
/// # Errors
/// Where nothing is read for as long as `unread_max`.
pub(super) async fn deliver<T>(
    send: &Sending<T>,
    message: T,
    unread_max: Duration,
) -> Result<bool, Refusal> {
    match tokio::time::timeout(unread_max, send.send(Ok(message))).await {
        Ok(sent) => Ok(sent.is_ok()),
        Err(_) => Err(Refusal::Unread(unread_max)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_list_that_nobody_reads_frees_its_place_and_is_not_taken_for_whole_when_it_is_read() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let list = |send: Sending<u32>| async move {
            for n in 0..100 {
                if !deliver(&send, n, Duration::from_millis(1)).await? {
                    break;
                }
            }
            Ok(())
        };
        let answers = answer(2, place, None, &CancellationToken::new(), list);
        // Nothing is read before this: the place is had again all the same.
        let _free = places.acquire().await.unwrap();
        let read: Vec<Result<u32, Status>> = answers.into_inner().collect().await;
        let codes: Vec<Code> = read
            .iter()
            .filter_map(|m| Some(m.as_ref().err()?.code()))
            .collect();
        assert_eq!(codes, [Code::DeadlineExceeded]);
        assert!(read.last().unwrap().is_err() && read.len() < 100);
    }

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
