//! What is said to a node when a connection to it is new: who we are, which database is meant, and (behind sentinels) whether it
//! is a master still.

use redis::{Pipeline, RedisConnectionInfo, ServerError, Value};

use super::addr::NodeAddr;
use super::answer::words;
use super::error::{CommandError, FailureKind};
use super::info;
use super::load::OUR_NAME;

/// The commands that open a connection; `only_master` where a replica is none that we want.
pub(super) fn commands(settings: &RedisConnectionInfo, only_master: bool) -> Pipeline {
    let mut pipeline = redis::pipe();
    if let Some(password) = settings.password() {
        pipeline.cmd("AUTH").arg(settings.username()).arg(password);
    }
    if settings.protocol().supports_resp3() {
        pipeline.cmd("HELLO").arg(3);
    }
    if settings.db() != 0 {
        pipeline.cmd("SELECT").arg(settings.db());
    }
    if only_master {
        pipeline.cmd("INFO").arg("replication");
    }
    // For whoever reads CLIENT LIST, as we do who must not count what we ask ourselves.
    pipeline.cmd("CLIENT").arg("SETNAME").arg(OUR_NAME);
    // Servers before 7.2 do not know it.
    pipeline
        .cmd("CLIENT")
        .arg("SETINFO")
        .arg("LIB-NAME")
        .arg("stoke");
    // What we do with a key is no use that should keep it from being evicted. Servers before 7.2 do not know it either.
    pipeline.cmd("CLIENT").arg("NO-TOUCH").arg("ON");
    pipeline
}

/// The command that asks a node whether it is a master, for [`check_role`].
pub(super) fn role() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("replication");
    pipeline
}

/// Looks whether `node` is a master, by its answer to [`role`]. (`ROLE` would be a permission more, beside that for `INFO`.)
pub(super) fn check_role(answer: Option<Value>, node: &NodeAddr) -> Result<(), CommandError> {
    refusal(answer.as_ref(), FailureKind::Denied, node, "")?;
    let text = answer.and_then(info::text).unwrap_or_default();
    let (kind, what) = match info::field(&text, "role") {
        Some("master") => return Ok(()),
        Some(_) => (
            FailureKind::Unavailable,
            "it is a replica now, and no master",
        ),
        None => (FailureKind::Refused, "its INFO has no role"),
    };
    Err(CommandError::new(kind, format!("{node}: {what}")))
}

/// Looks whether `node` lets us in, by its answers to [`commands`].
pub(super) fn check(
    answers: Vec<Value>,
    settings: &RedisConnectionInfo,
    only_master: bool,
    node: &NodeAddr,
) -> Result<(), CommandError> {
    let mut answers = answers.into_iter();
    if let Some(password) = settings.password() {
        refusal(answers.next().as_ref(), FailureKind::Denied, node, password)?;
    }
    if settings.protocol().supports_resp3() {
        refusal(answers.next().as_ref(), FailureKind::Refused, node, "")?;
    }
    if settings.db() != 0 {
        refusal(answers.next().as_ref(), FailureKind::Refused, node, "")?;
    }
    if only_master {
        check_role(answers.next(), node)?;
    }
    Ok(())
}

fn refusal(
    answer: Option<&Value>,
    kind: FailureKind,
    node: &NodeAddr,
    password: &str,
) -> Result<(), CommandError> {
    let Some(Value::ServerError(error)) = answer else {
        return Ok(());
    };
    let kind = if will_pass(error) {
        FailureKind::Unavailable
    } else {
        kind
    };
    let mut words = words(error);
    if !password.is_empty() {
        // A server that does not know AUTH by this name repeats its arguments.
        words = words.replace(password, "***");
    }
    Err(CommandError::advised(kind, &format!("{node}: {words}")))
}

/// Whether the server is only too busy now: these come before it looks at the command.
fn will_pass(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    matches!(error.code(), "LOADING" | "MASTERDOWN" | "BUSY")
        || details.contains("max number of clients")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RedisConnectionInfo {
        RedisConnectionInfo::default()
            .set_username("warm")
            .set_password("s3cret")
            .set_db(2)
    }

    fn on(auth: &str, select: &str) -> Result<(), CommandError> {
        let unknown = "-ERR unknown subcommand 'SETINFO'\r\n";
        let answers = [auth, select, unknown, unknown, unknown]
            .map(|wire| redis::parse_redis_value(wire.as_bytes()).unwrap());
        check(answers.to_vec(), &settings(), false, &NodeAddr::new("n", 1))
    }

    #[test]
    fn a_server_that_agrees_is_entered_even_if_it_does_not_know_all_that_we_say() {
        assert_eq!(on("+OK\r\n", "+OK\r\n"), Ok(()));
        assert_eq!(commands(&settings(), false).len(), 5);
        assert_eq!(commands(&RedisConnectionInfo::default(), false).len(), 3);
        let newer = RedisConnectionInfo::default().set_protocol(redis::ProtocolVersion::RESP3);
        assert_eq!(commands(&newer, false).len(), 4);
        let refused = redis::parse_redis_value(b"-NOPROTO unsupported protocol version\r\n");
        let refused = check(
            vec![refused.unwrap()],
            &newer,
            false,
            &NodeAddr::new("n", 1),
        );
        assert!(refused.unwrap_err().reason.contains("NOPROTO"));
    }

    #[test]
    fn refusals_are_told_apart_from_what_will_pass() {
        for (auth, select, kind) in [
            (
                "-WRONGPASS invalid\r\n",
                "-NOAUTH no\r\n",
                FailureKind::Denied,
            ),
            (
                "-ERR AUTH <password> called without\r\n",
                "+OK\r\n",
                FailureKind::Denied,
            ),
            (
                "+OK\r\n",
                "-ERR DB index is out of range\r\n",
                FailureKind::Refused,
            ),
            (
                "-ERR max number of clients reached\r\n",
                "+OK\r\n",
                FailureKind::Unavailable,
            ),
            (
                "+OK\r\n",
                "-LOADING Redis is loading\r\n",
                FailureKind::Unavailable,
            ),
        ] {
            assert_eq!(on(auth, select).unwrap_err().kind, kind, "{auth} {select}");
        }
    }

    #[test]
    fn a_password_that_the_server_repeats_is_not_told() {
        let error = on("-ERR unknown command 'AUTH' 'warm' 's3cret'\r\n", "+OK\r\n").unwrap_err();
        assert_eq!(error.reason, "n:1: ERR unknown command 'AUTH' 'warm' '***'");
    }

    #[test]
    fn where_only_a_master_will_do_a_replica_is_for_later_and_anything_else_is_refused() {
        let nobody = RedisConnectionInfo::default();
        let of = |answer: Value| {
            let answers = vec![answer, Value::Okay, Value::Okay, Value::Okay];
            assert_eq!(commands(&nobody, true).len(), answers.len());
            check(answers, &nobody, true, &NodeAddr::new("n", 1)).map_err(|error| error.kind)
        };
        let info = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        assert_eq!(
            of(info(
                "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"
            )),
            Ok(())
        );
        for (answer, kind) in [
            (
                info("# Replication\r\nrole:slave\r\n"),
                FailureKind::Unavailable,
            ),
            (info("# Replication\r\n"), FailureKind::Refused),
            (Value::Nil, FailureKind::Refused),
            (Value::BulkString(vec![0xff]), FailureKind::Refused),
            (
                redis::parse_redis_value(b"-NOPERM no permissions\r\n").unwrap(),
                FailureKind::Denied,
            ),
            (
                redis::parse_redis_value(b"-LOADING Redis is loading\r\n").unwrap(),
                FailureKind::Unavailable,
            ),
        ] {
            assert_eq!(of(answer), Err(kind));
        }
    }
}
