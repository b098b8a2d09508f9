//! Host names and addresses as a file writes them. A message says what to write in place of what is
//! none: the system would take some for another address, and no name server answers the others.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a host begins that is a stream socket of this machine; its path follows.
pub const UNIX: &str = "unix:";

/// The longest path of a socket, in bytes: unix(7) has room for 108, with the NUL byte at the end.
const LONGEST_PATH: usize = 107;

/// The host of a node: as [`host`], or a socket of this machine.
pub(super) fn node_host(text: &str) -> Result<&str, String> {
    match text.strip_prefix(UNIX) {
        Some(path) => socket_path(path).map(|()| text),
        None if text.starts_with('/') => {
            Err(format!("is a path; write {UNIX} before it if it is a socket of this machine"))
        }
        None if text.get(..UNIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(UNIX)) => {
            Err(format!("begins a path with other letters than {UNIX}; write it in small letters"))
        }
        None => host(text),
    }
}

fn socket_path(path: &str) -> Result<(), String> {
    match () {
        () if !path.starts_with('/') => Err(format!(
            "has no path that begins with /; write the whole path of the socket, such as \
             {UNIX}/run/aggregator.sock"
        )),
        () if path.contains(char::is_control) => {
            Err("contains a character that does not print; type it again".into())
        }
        () if path.len() > LONGEST_PATH => Err(format!(
            "has a path of {} bytes, and that of a socket has at most {LONGEST_PATH} bytes; move \
             the socket, or make a link to its directory",
            path.len()
        )),
        () if path.ends_with('/') => {
            Err("names a directory; write the whole path of the socket".into())
        }
        () => Ok(()),
    }
}

/// The host without the brackets of an IPv6 literal. The error follows the quoted value in the
/// message.
pub(super) fn host(text: &str) -> Result<&str, String> {
    if text.bytes().all(is_of_host_name) {
        return host_name(text); // nearly always
    }
    if let Some(inner) = unbracketed(text).filter(|inner| ipv6(inner)) {
        return Ok(inner);
    }
    if ipv6(text) {
        return Ok(text);
    }
    Err(no_host(text))
}

/// Why a text with other characters than those of a name is not a host.
fn no_host(text: &str) -> String {
    const PORT: &str = "contains a port; write only the host here, and its port in the key port";
    let before_colon = text.rsplit_once(':').filter(|(_, port)| is_number(port.as_bytes()));
    let odd = text.chars().find(|&c| !u8::try_from(c).is_ok_and(is_of_host_name));
    match () {
        () if text.contains(['"', '\'']) => {
            "contains quotes, which are not part of a host; write it without them".into()
        }
        () if text.contains('#') => {
            "contains a \"#\"; put a comment on its own line, not after a value".into()
        }
        () if text.contains("://") => {
            "is a URL; write only the host here, and its port in the key port".into()
        }
        () if text.contains([',', ';']) => {
            "names several hosts; write one, and a [NODE] for each of them".into()
        }
        () if text.chars().any(|c| c.is_whitespace() || c.is_control()) => {
            "contains a blank; write one host name or address, and a [NODE] for each further one"
                .into()
        }
        () if text.starts_with('[') && text.ends_with(']') => {
            "is not an IPv6 address in brackets, such as [::1]".into()
        }
        () if before_colon.is_some_and(|(host, _)| host.ends_with(']') || ipv6(host)) => {
            PORT.into()
        }
        () if text.matches(':').count() == 1 => PORT.into(),
        () if text.contains([':', '[', ']']) => {
            "is not an IPv6 address, such as ::1; write only the host here, and its port in the \
             key port"
                .into()
        }
        () if text.contains('*') => {
            "contains '*', and a pattern is not a host; write one name or address".into()
        }
        () => match odd {
            Some(odd) if odd.is_ascii() => format!(
                "contains {odd:?}, which a host name cannot have; write only the name or address"
            ),
            odd => format!(
                "contains {:?}, which a host name cannot have; write an international name in its \
                 xn-- form",
                odd.unwrap_or_default()
            ),
        },
    }
}

/// A byte of a host name by RFC 1123, or an underscore, which names in container networks use.
fn is_of_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Checks that a text of such bytes is a host name or an IPv4 address.
fn host_name(text: &str) -> Result<&str, String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let last = name.as_bytes().rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    // A name whose last label is a number is taken for an address, in all the ways of inet_aton(3):
    // 1.2.3 would be 1.2.0.3, and 010 would be 8.
    if is_number(last) {
        return match text.parse::<Ipv4Addr>() {
            Ok(_) => Ok(text),
            Err(_) => Err("is not an IPv4 address; write four numbers from 0 to 255 without \
                           leading zeros, such as 192.0.2.1, or a host name"
                .into()),
        };
    }
    let labels = || name.as_bytes().split(|byte| *byte == b'.');
    if name.len() > 253 || labels().any(|label| label.is_empty() || label.len() > 63) {
        return Err(
            "is not a host name: each part between dots has 1 to 63 letters, and the whole name at \
             most 253; write a name or an address"
                .into(),
        );
    }
    if labels().any(|label| label.starts_with(b"-")) {
        return Err(
            "is not a host name: no part between dots begins with \"-\"; write a name or an \
                    address"
                .into(),
        );
    }
    Ok(text)
}

/// Whether inet_aton(3) reads this as a number.
fn is_number(label: &[u8]) -> bool {
    match label {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
    }
}

pub(super) fn unbracketed(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']')
}

/// The shorter address, if an IPv6 address without brackets is followed by this port: it is also an
/// address as a whole, but hardly the one that was meant.
pub(super) fn with_port(text: &str, port: u16) -> Option<&str> {
    let colon = text.bytes().rposition(|byte| byte == b':')?;
    let (address, behind) = (&text[..colon], &text[colon + 1..]);
    (ipv6(address) && ipv6(text) && behind.parse() == Ok(port)).then_some(address)
}

/// An IPv6 address, with a zone (`fe80::1%eth0`) or without.
fn ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(zone_fits)
}
