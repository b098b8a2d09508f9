//! The way through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6). After it the connection to the
//! proxy is one to the node. It never waits: it says what it needs.

use std::io::{self, ErrorKind};

use base64ct::{Base64, Encoding};
use httparse::{EMPTY_HEADER, Response, Status as Parsed};

use super::socket::{Ready, Socket};
use crate::base::text::brief;
use crate::base::wiped::Wiped;
use crate::config::Proxy;

/// How long the head of the proxy's answer may be, in bytes, with the heads of interim answers.
const MOST_HEAD: usize = 16 * 1024;

/// How many lines it may have.
const MOST_LINES: usize = 64;

/// A tunnel that is being made.
pub(super) struct Tunnel {
    socket: Socket,
    /// With the credentials.
    request: Wiped<Vec<u8>>,
    has_credentials: bool,
    sent: usize,
    answer: Vec<u8>,
    /// The length of the interim answers (1xx) that came before.
    interim: usize,
}

/// How far a tunnel has come.
pub(super) enum Passage {
    Waits(Ready),
    /// It is open. The bytes are the node's first, if the node speaks first.
    Open(Vec<u8>),
}

/// Why a tunnel cannot be made.
pub(super) enum Blocked {
    /// The connection to the proxy broke.
    Broke(io::Error),
    /// The proxy will not, with the fix.
    Refused(String),
}

impl Tunnel {
    /// A tunnel to `authority` (`host:port`) over a connection to `proxy`.
    pub(super) fn new(socket: Socket, authority: &str, proxy: &Proxy) -> Tunnel {
        Tunnel {
            socket,
            request: request(authority, proxy),
            has_credentials: proxy.credentials.is_some(),
            sent: 0,
            answer: Vec::new(),
            interim: 0,
        }
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance(&mut self) -> Result<Passage, Blocked> {
        while self.sent < self.request.len() {
            match self.socket.send(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Passage::Waits(Ready::Write));
                }
                Err(error) => return Err(Blocked::Broke(error)),
            }
        }
        loop {
            let mut buffer = [0; 2048];
            match self.socket.receive(&mut buffer) {
                Ok(0) => {
                    let text = "it closed the connection instead of an answer to CONNECT; is it an \
                                HTTP proxy?";
                    return Err(Blocked::Refused(text.to_owned()));
                }
                Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Passage::Waits(Ready::Read));
                }
                Err(error) => return Err(Blocked::Broke(error)),
            }
            if let Some(first) = self.read_heads().map_err(Blocked::Refused)? {
                return Ok(Passage::Open(first));
            }
        }
    }

    /// The bytes behind the head, once it is whole and the proxy agrees.
    fn read_heads(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let mut lines = [EMPTY_HEADER; MOST_LINES];
            let mut response = Response::new(&mut lines);
            let no_http = |error| format!("its answer to CONNECT is not HTTP ({error})");
            let Parsed::Complete(length) = response.parse(&self.answer).map_err(no_http)? else {
                return match self.interim + self.answer.len() < MOST_HEAD {
                    true => Ok(None),
                    false => Err(format!(
                        "the head of its answer to CONNECT has more than {MOST_HEAD} bytes"
                    )),
                };
            };
            match response.code.unwrap_or_default() {
                200..=299 => return Ok(Some(self.answer.split_off(length))),
                // RFC 9110 section 15.2: any number of them may come before the answer.
                100 | 102..=199 => {
                    self.answer.drain(..length);
                    self.interim += length;
                }
                code => {
                    let reason = response.reason.unwrap_or_default();
                    return Err(refusal(code, reason, self.has_credentials));
                }
            }
        }
    }
}

/// The head of a CONNECT; RFC 7617 for the user and password.
fn request(authority: &str, proxy: &Proxy) -> Wiped<Vec<u8>> {
    let credentials = proxy.credentials.as_ref().map_or(&b""[..], |text| text.as_bytes());
    let encoded_length = credentials.len().div_ceil(3) * 4;
    // Of its full size at once, so that no copy stays behind.
    let mut request = Wiped::new(Vec::with_capacity(2 * authority.len() + encoded_length + 80));
    for part in ["CONNECT ", authority, " HTTP/1.1\r\nHost: ", authority, "\r\n"] {
        request.extend_from_slice(part.as_bytes());
    }
    if !credentials.is_empty() {
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
        let start = request.len();
        request.resize(start + encoded_length, 0);
        let encoded = Base64::encode(credentials, &mut request[start..]);
        debug_assert!(encoded.is_ok_and(|text| text.len() == encoded_length));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

fn refusal(code: u16, reason: &str, has_credentials: bool) -> String {
    let fix = match code {
        // Some proxies answer as servers do.
        401 | 407 if has_credentials => "it does not take the user and password of net.proxy",
        401 | 407 => "in net.proxy, write user:password@ before the host",
        403 | 405 => "it does not allow CONNECT to this host and port; change its rules",
        502..=504 => "it cannot reach the node; see its log",
        _ => "see its log",
    };
    format!("it answered CONNECT with {code} {}; {fix}", brief(reason))
}
