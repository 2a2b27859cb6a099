//! What lines of a [`Forwarder`] do with bytes, seen from both ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use stoke_harness::{Forwarder, Line, Program, wait_for};

const SOON: Duration = Duration::from_secs(30);
/// How long nothing must come for it to count as nothing. Where something would come, it does so at once.
const QUIET: Duration = Duration::from_millis(200);

/// A forwarder with a client at one end and a server at the other.
struct Road {
    forwarder: Forwarder,
    listener: TcpListener,
}

impl Road {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let forwarder = Forwarder::to(listener.local_addr().unwrap().port()).unwrap();
        Self {
            forwarder,
            listener,
        }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, self.forwarder.port())).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(SOON)).unwrap();
        }
        (client, server)
    }
}

fn send(mut from: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
}

fn arrives(mut at: &TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    at.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

fn nothing_arrives(mut at: &TcpStream) {
    at.set_read_timeout(Some(QUIET)).unwrap();
    let error = at.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    at.set_read_timeout(Some(SOON)).unwrap();
}

fn is_closed(mut end: &TcpStream) {
    match end.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_open_line_passes_both_ways() {
    let road = Road::new();
    let (client, server) = road.connect();
    send(&client, b"ask");
    arrives(&server, b"ask");
    send(&server, b"answer");
    arrives(&client, b"answer");
}

#[test]
fn a_refused_line_closes_what_there_is_and_what_comes() {
    let road = Road::new();
    let (client, server) = road.connect();
    road.forwarder.set(Line::Refused);
    is_closed(&client);
    is_closed(&server);
    let (client, _server) = road.connect();
    is_closed(&client);
    road.forwarder.set(Line::Open);
    let (client, server) = road.connect();
    send(&client, b"ask");
    arrives(&server, b"ask");
}

#[test]
fn one_way_can_be_lost_alone_and_a_line_that_lost_something_is_closed_when_it_is_open_again() {
    for (line, loses_requests, loses_answers) in [
        (Line::RequestsLost, true, false),
        (Line::AnswersLost, false, true),
        (Line::Swallowed, true, true),
    ] {
        let road = Road::new();
        let (client, server) = road.connect();
        road.forwarder.set(line);
        send(&client, b"ask");
        send(&server, b"tell");
        if loses_requests {
            nothing_arrives(&server);
        } else {
            arrives(&server, b"ask");
        }
        if loses_answers {
            nothing_arrives(&client);
        } else {
            arrives(&client, b"tell");
        }
        road.forwarder.set(Line::Open);
        is_closed(&client);
        is_closed(&server);
    }
}

#[test]
fn what_a_line_held_arrives_late() {
    let road = Road::new();
    let (client, server) = road.connect();
    road.forwarder.set(Line::Held);
    send(&client, b"ask");
    nothing_arrives(&server);
    road.forwarder.set(Line::Open);
    arrives(&server, b"ask");
    send(&server, b"answer");
    arrives(&client, b"answer");
}

#[test]
fn while_the_server_is_away_connections_are_refused_as_they_would_be_without_a_forwarder() {
    let road = Road::new();
    let server = road.listener.local_addr().unwrap();
    let here = (Ipv4Addr::LOCALHOST, road.forwarder.port());
    drop(road.listener);
    // The first is taken before it is known that the server is away.
    let refused = || match TcpStream::connect(here) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        other => anyhow::bail!("{other:?}"),
    };
    wait_for("a refusal", SOON, refused).unwrap();
    let back = TcpListener::bind(server).unwrap();
    let reached = || Ok(TcpStream::connect(here)?);
    let client = wait_for("the way to be open again", SOON, reached).unwrap();
    send(&client, b"ask");
    // Before it comes the one with which it was looked whether the server is back.
    let (_look, _) = back.accept().unwrap();
    let (server, _) = back.accept().unwrap();
    arrives(&server, b"ask");
}

#[test]
fn one_process_is_cut_off_alone_with_its_old_connections_and_its_new_ones() {
    let road = Road::new();
    let ask = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{0}; echo first >&3; read word; exec 4<>/dev/tcp/127.0.0.1/{0}; echo second >&4; cat",
        road.forwarder.port()
    );
    let fifo = std::env::temp_dir().join(format!("stoke-forwarder-test-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let other = Program::new("bash")
        .unwrap()
        .args(["-c", &format!("exec <>{}; {ask}", fifo.display())])
        .start()
        .unwrap();
    let (old, _) = road.listener.accept().unwrap();
    old.set_read_timeout(Some(SOON)).unwrap();
    arrives(&old, b"first\n");
    road.forwarder.set_for(other.pid(), Line::Swallowed);
    std::fs::write(&fifo, "go on\n").unwrap();
    let (new, _) = road.listener.accept().unwrap();
    nothing_arrives(&old);
    nothing_arrives(&new);
    let (client, server) = road.connect();
    send(&client, b"ask");
    arrives(&server, b"ask");
    std::fs::remove_file(&fifo).unwrap();
}

/// One that slipped through would stay, and its process would not be cut off at all.
#[test]
fn of_many_connections_of_a_process_that_is_cut_off_none_slips_through() {
    let road = Road::new();
    let fifo = std::env::temp_dir().join(format!("stoke-forwarder-many-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let many = format!(
        "read word <{}; for n in $(seq 200); do exec 3<>/dev/tcp/127.0.0.1/{}; cat <&3; exec 3>&-; done",
        fifo.display(),
        road.forwarder.port()
    );
    let other = Program::new("bash").unwrap().args(["-c", &many]);
    let other = other.start().unwrap();
    road.forwarder.set_for(other.pid(), Line::Refused);
    std::fs::write(&fifo, "go on\n").unwrap();
    for _ in 0..200 {
        let (server, _) = road.listener.accept().unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        is_closed(&server);
    }
    other.wait(SOON).unwrap();
    std::fs::remove_file(&fifo).unwrap();
}
