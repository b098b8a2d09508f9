//! The life of one connection: the handshake if it is wanted, then messages. Each message is
//! written out, counted and acknowledged, in that order. Never count a record before its whole
//! message is decoded.

use crate::auth::Challenge;
use crate::fluentd;
use crate::forward::{self, Event, Message};
use crate::json;
use crate::scan::{DecodeError, Splitter};
use crate::server::{Fate, Peer, Server};
use crate::wire::{End, Wire};
use std::io::Write;
use std::thread;
use std::time::Duration;

/// The pause between the bytes of a split ack: long enough for each to arrive and be read alone.
const SPLIT_PAUSE: Duration = Duration::from_millis(2);

/// Runs until the connection ends. The socket is closed by its last owner, the server's table.
pub fn serve(server: &Server, peer: &Peer) {
    let complain = |text: &dyn std::fmt::Display| {
        eprintln!("{}: {}: {text}", server.settings.name, peer.address);
    };
    let mut wire = match Wire::new(server, peer) {
        Ok(wire) => wire,
        Err(_) => return complain(&"TLS: the settings do not make a connection"),
    };
    let mut session =
        Session { server, wire: &mut wire, splitter: Splitter::new(), previous: None };
    let Err(mut end) = session.run(peer);
    let unfinished = session.splitter.unfinished();
    if peer.fate() == Fate::Reset {
        // The order came in the middle of a read: nothing more may be sent, not even the end of
        // TLS.
        end = End::Reset;
    }
    match &end {
        End::Refused(reason) => {
            server.counts.errors.add(1);
            complain(reason);
        }
        End::Closed | End::Lost if unfinished > 0 && peer.fate() == Fate::Open => {
            complain(&format_args!(
                "ended by the client inside a message, after {unfinished} bytes of it"
            ));
        }
        _ => {}
    }
    wire.finish(&end);
}

struct Session<'a, 'b> {
    server: &'a Server,
    wire: &'a mut Wire<'b>,
    splitter: Splitter,
    /// The chunk before this one, for late acks.
    previous: Option<String>,
}

enum Step {
    /// The next message must be a PING that answers this.
    Ping(Challenge),
    Records,
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> End {
        End::Refused(error.0)
    }
}

impl Session<'_, '_> {
    fn run(&mut self, peer: &Peer) -> Result<std::convert::Infallible, End> {
        let mut step = {
            let _pass = self.server.enter(peer).ok_or(End::Closed)?;
            self.greet()?
        };
        loop {
            self.wire.wait()?;
            let _pass = self.server.enter(peer).ok_or(End::Closed)?;
            self.wire.receive(&mut self.splitter)?;
            while let Some(bytes) = self.splitter.next()? {
                step = match step {
                    Step::Ping(challenge) => {
                        check(self.server, self.wire, &challenge, bytes)?;
                        Step::Records
                    }
                    Step::Records => {
                        let message = take(self.server, bytes)?;
                        if let Some(chunk) = message.chunk {
                            acknowledge(self.server, self.wire, &chunk, self.previous.as_deref())?;
                            self.previous = Some(chunk);
                        }
                        Step::Records
                    }
                };
            }
        }
    }

    fn greet(&mut self) -> Result<Step, End> {
        let Some(credentials) = &self.server.settings.credentials else { return Ok(Step::Records) };
        let mut challenge = Challenge { nonce: [0; 16], auth_salt: [0; 16] };
        for part in [&mut challenge.nonce, &mut challenge.auth_salt] {
            aws_lc_rs::rand::fill(part).expect("the system has random bytes");
        }
        let word = if self.server.faults.wrong_helo.is_on() { "OLEH" } else { "HELO" };
        self.wire.send(&credentials.helo(&challenge, word))?;
        Ok(Step::Ping(challenge))
    }
}

fn check(
    server: &Server,
    wire: &mut Wire<'_>,
    challenge: &Challenge,
    bytes: &[u8],
) -> Result<(), End> {
    let credentials = server.settings.credentials.as_ref().expect("a challenge was made from them");
    let verdict = credentials.check(challenge, bytes)?;
    // Records that come without a PONG, or after a forged one, are counted like all others, so that
    // a test can see that the client sent them.
    if !server.faults.no_pong.is_on() {
        let forged = server.faults.wrong_pong_digest.is_on();
        wire.send(&credentials.pong(challenge, &verdict, forged))?;
    }
    verdict.accepted.map_err(End::Refused)
}

/// Decodes a message, writes its records out and counts them.
fn take(server: &Server, bytes: &[u8]) -> Result<Message, End> {
    let mut lines = String::new();
    let writing = server.settings.out.is_some();
    let decode = if server.settings.as_fluentd { fluentd::decode } else { forward::decode };
    let message = decode(bytes, &mut |event| {
        if writing {
            write_line(&mut lines, &event);
        }
    })?;
    let came = message.events + message.dropped;
    if let Some(size) = message.size
        && size != came
    {
        eprintln!("{}: options.size is {size} in a message of {came} events", server.settings.name);
    }
    if message.dropped > 0 {
        eprintln!(
            "{}: {} events of {came} are none that fluentd takes",
            server.settings.name, message.dropped
        );
    }
    if let Some(out) = &server.settings.out {
        // One unbuffered write, so that the lines are in the file before the ack is sent.
        out.lock()
            .write_all(lines.as_bytes())
            .map_err(|error| End::Refused(format!("cannot write to the --out file: {error}")))?;
    }
    server.counts.records.add(message.events);
    server.counts.dropped.add(message.dropped);
    Ok(message)
}

fn write_line(lines: &mut String, event: &Event<'_>) {
    lines.push_str("{\"tag\":");
    json::write_text(lines, event.tag);
    match event.signal {
        0 => lines.push_str(&format!(",\"time\":\"{}\",", event.time)),
        signal => lines.push_str(&format!(",\"signal\":{signal},")),
    }
    if let Some(metadata) = event.metadata {
        lines.push_str("\"metadata\":");
        json::write_value(lines, metadata);
        lines.push(',');
    }
    lines.push_str("\"record\":");
    json::write_value(lines, event.record);
    lines.push_str("}\n");
}

fn acknowledge(
    server: &Server,
    wire: &mut Wire<'_>,
    chunk: &str,
    previous: Option<&str>,
) -> Result<(), End> {
    let faults = &server.faults;
    if faults.drop_acks.is_on() {
        return Ok(());
    }
    if faults.late_acks.is_on()
        && let Some(previous) = previous
    {
        send_ack(server, wire, previous)?;
    }
    if faults.wrong_acks.is_on() {
        return send_ack(server, wire, &another(chunk));
    }
    // Counted first, so that a client that has its ack finds it counted.
    server.counts.acks.add(1);
    send_ack(server, wire, chunk).inspect_err(|_| server.counts.acks.take_back(1))
}

fn send_ack(server: &Server, wire: &mut Wire<'_>, chunk: &str) -> Result<(), End> {
    let ack = forward::ack(chunk);
    if !server.faults.split_acks.is_on() {
        return wire.send(&ack);
    }
    for byte in ack {
        wire.send(&[byte])?;
        thread::sleep(SPLIT_PAUSE);
    }
    Ok(())
}

/// An id that differs from `chunk` only in its first letter, if it has one.
fn another(chunk: &str) -> String {
    let mut letters = chunk.chars();
    let first = if letters.next() == Some('A') { 'B' } else { 'A' };
    std::iter::once(first).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::another;

    #[test]
    fn another_chunk_is_never_the_same() {
        assert_eq!(another("ABC="), "BBC=");
        assert_eq!(another("xBC="), "ABC=");
        assert_eq!(another(""), "A");
    }
}
