//! What to do about a server that cannot be reached or that refuses: told from the words of the error.
//!
//! Drivers wrap what the system, the TLS library and the server say, each in its own types; their words are what all of
//! them keep. So this goes by words, which are pinned by tests against real servers, and where none is known it says
//! nothing. Absent: anything of the address or the credentials; whoever shows an error names the address itself.

/// Words that an error has, in lower case, and what they mean and call for. The first row that fits counts: what is more
/// particular stands above. The system's errors have two ways: their sentence, and the name of their kind, which is all
/// that some libraries show.
const ADVICE: &[(&[&str], &str)] = &[
    (
        &[
            "unsupported startup parameter",
            "prepared statement \"sqlx_s_",
        ],
        "a pooler is in between, as PgBouncer: where it pools by transactions, write ?pooler=transaction behind the URL",
    ),
    (
        &["slave monitor", "replica monitor", "replication client"],
        "it does not say its lag to this user: GRANT REPLICATION CLIENT ON *.* to it, in MariaDB REPLICA MONITOR",
    ),
    (
        &["url scheme is not allowed"],
        "its endpoint is http://, which is taken where the environment has AWS_ALLOW_HTTP=true (of Azure AZURE_ALLOW_HTTP)",
    ),
    (
        &["unknown command 'monitor'", "unknown command `monitor`"],
        "it has no MONITOR, as many that providers run: read its hot keys (under an LFU policy), a counter, or a log",
    ),
    (
        &["run the 'monitor' command"],
        "it does not let this user see what others send: ACL SETUSER NAME +monitor +info +client|list (before 7.0 +client), or read something else",
    ),
    (
        &[
            "failed to lookup address",
            "name or service not known",
            "name resolution",
            "no address associated",
        ],
        "its host name cannot be resolved: check the name, and this machine's DNS",
    ),
    (
        &["unknownissuer", "unknown issuer", "badsignature"],
        "its certificate comes from an authority that is not trusted here: give that authority's certificate as ca-file",
    ),
    (
        &["not valid for name", "notvalidforname"],
        "its certificate is for another name: address it by a name that its certificate has",
    ),
    (
        &[
            "certificate expired",
            "peer certificate: expired",
            "notvalidyet",
            "not valid yet",
        ],
        "its certificate is not valid at this time: renew it, or set the clock right",
    ),
    (
        &[
            "certificaterequired",
            "certificate required",
            "requires a valid client certificate",
            "alert: unknownca",
            "alert: badcertificate",
            "alert: decrypterror",
            "alert: certificateunknown",
            "certificate authentication failed",
        ],
        "it wants a client certificate: give one with cert-file and key-file, from an authority that it trusts and for \
         this user",
    ),
    (
        &[
            "handshakefailure",
            "handshake failure",
            "protocolversion",
            "peer is incompatible",
        ],
        "it and we have no version or cipher of TLS in common: TLS 1.2 or 1.3 is needed",
    ),
    (
        &[
            "corrupt message",
            "invalidcontenttype",
            "does not support tls",
            "tls handshake eof",
        ],
        "it speaks without TLS there: give its port for TLS, or leave TLS out of the address",
    ),
    (
        &[
            "insecure transport are prohibited",
            "rsa auth backend disabled",
        ],
        "it lets this user in with TLS only: ask for TLS with ssl-mode=required or stricter",
    ),
    (
        &["no encryption"],
        "it lets this user in with TLS only, or not at all: ask for TLS with sslmode=require or stricter",
    ),
    (
        &["is not allowed to connect to this"],
        "it has no user for this machine's address: let the user's host be another",
    ),
    (
        &["because of many connection errors"],
        "it has shut this machine out: run mariadb-admin flush-hosts (MySQL: TRUNCATE performance_schema.host_cache)",
    ),
    (
        &["' to database '", "command denied to user"],
        "the user lacks a permission: grant it, or name another user",
    ),
    (
        &["access denied for user"],
        "it refuses the user or the password, or lets this user in with TLS or a certificate only: check all of them",
    ),
    (
        &["no pg_hba.conf entry"],
        "its pg_hba.conf has no rule for this user, database and address",
    ),
    (
        &[
            "password authentication failed",
            "wrongpass",
            "invalid user id or password",
            "invalid username-password",
            "authentication failed",
        ],
        "it refuses the user or the password: check both",
    ),
    (
        &[
            "noauth",
            "user name is empty",
            "user name not found",
            "password is empty",
            "fe_sendauth",
            "password missing",
        ],
        "it asks for a user and password: give them",
    ),
    (
        &["permission denied", "noperm"],
        "the user lacks a permission: grant it, or name another user",
    ),
    (
        &["database space exceeded"],
        "etcd's database is full (NOSPACE): compact it, defragment it, then run etcdctl alarm disarm",
    ),
    (
        &["oom command not allowed"],
        "it is at its maxmemory and evicts nothing: raise maxmemory, or set a maxmemory-policy that evicts",
    ),
    (
        &["readonly you can't write", "read only replica"],
        "it is a replica: give the address of its primary",
    ),
    (
        &["loading redis is loading"],
        "it still loads its data from disk: wait until that is done",
    ),
    (
        &["clusterdown hash slot not served"],
        "no node serves the key's slot: give it to a node (CLUSTER ADDSLOTS, redis-cli --cluster fix)",
    ),
    (
        &["clusterdown"],
        "the cluster is down: a node is missing, or slots have no owner (CLUSTER INFO tells)",
    ),
    (
        &["misconf"],
        "it cannot save its data to disk and therefore takes no writes: see its log",
    ),
    (
        &[
            "too many clients",
            "remaining connection slots",
            "max number of clients",
            "too many connections",
            "max_user_connections",
        ],
        "it has no connection left: raise its limit, or lower what else connects to it",
    ),
    (
        &["connection refused", "connectionrefused"],
        "nobody listens there: check host and port, and whether the server runs",
    ),
    (
        &[
            "no answer within",
            "timed out",
            "timedout",
            "deadline has elapsed",
            "timeout expired",
        ],
        "it does not answer in time: check host and port, firewalls, and how busy the server is",
    ),
    (
        &[
            "no route to host",
            "network is unreachable",
            "networkunreachable",
            "host is unreachable",
            "hostunreachable",
        ],
        "no network leads there: check the host, and this machine's routes",
    ),
    (
        &[
            "connection reset",
            "connectionreset",
            "broken pipe",
            "brokenpipe",
            "unexpected end of file",
            "unexpectedeof",
            "early eof",
            "connection closed",
            "driver unexpectedly terminated",
            "frame with invalid size",
            "multiplexed connection",
            "http2 error",
        ],
        // A refused client certificate can look so, too: the alert that says it is lost where we write at that moment.
        "it closed the connection: where it expects TLS, ask for TLS; where it is without TLS, do not; where it wants a client certificate, give one with \
         cert-file and key-file, from an authority that it trusts; else see its log",
    ),
];

/// What these words of an error call for; `None` where they are none that is known.
#[must_use]
pub fn advice(words: &str) -> Option<&'static str> {
    let words = words.to_lowercase();
    let fits = |(signs, _): &&(&[&str], &str)| signs.iter().any(|sign| words.contains(sign));
    ADVICE.iter().find(fits).map(|(_, advice)| *advice)
}

/// The words of an error, followed by what they call for where that is known.
#[must_use]
pub fn with_advice(words: &str) -> String {
    match advice(words) {
        Some(advice) if !words.contains(advice) => format!("{words} ({advice})"),
        _ => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_call_for_something_and_others_for_nothing() {
        for (words, part) in [
            (
                "failed to lookup address information: Name or service not known",
                "DNS",
            ),
            ("Connection refused (os error 111)", "nobody listens"),
            ("builder error: URL scheme is not allowed", "AWS_ALLOW_HTTP"),
            ("ERR unknown command 'MONITOR', with args", "hot keys"),
            ("invalid peer certificate: UnknownIssuer", "ca-file"),
            ("received fatal alert: CertificateRequired", "cert-file"),
            (
                "received corrupt message of type InvalidContentType",
                "without TLS",
            ),
            (
                "no pg_hba.conf entry for host \"::1\", user \"u\", database \"d\", no encryption",
                "sslmode",
            ),
            (
                "1045 (28000): Access denied for user 'u'@'::1' (using password: YES)",
                "password",
            ),
            (
                "1044 (42000): Access denied for user 'u'@'%' to database 'shop'",
                "permission",
            ),
            ("1040 (08004): Too many connections", "no connection left"),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "password",
            ),
            ("etcdserver: mvcc: database space exceeded", "alarm disarm"),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "maxmemory-policy",
            ),
            ("no answer within 1s", "in time"),
            ("hyper::Error(Io, Kind(ConnectionReset))", "ask for TLS"),
            ("hyper::Error(Io, Kind(TimedOut))", "in time"),
        ] {
            assert!(
                advice(words).is_some_and(|advice| advice.contains(part)),
                "{words}"
            );
        }
        assert_eq!(advice("relation \"missing\" does not exist"), None);
        assert_eq!(with_advice("odd"), "odd");
        let once = with_advice("Connection refused");
        assert_eq!(with_advice(&once), once);
    }
}
