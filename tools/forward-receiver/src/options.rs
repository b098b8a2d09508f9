//! The command line: the text of `-h`, and the checked options. An option that would have no effect
//! is an error, so that no test runs without what it asked for.

use crate::auth::Credentials;
use crate::tls::Identity;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub const HELP: &str = "\
forward-receiver: a server for the Forward protocol. It counts every record, and
fails when told to.

Usage: forward-receiver [options]. Defaults stand in parentheses.

  --port PORT             listen on this port; 0 takes a free one (0)
  --bind ADDRESS          listen on this IP address (127.0.0.1)
  --name NAME             name in messages on standard error (forward-receiver)
  --out FILE              append each record as a line of JSON, before its ack
  --as-fluentd            take only what fluentd takes; drop and count the
                          rest, and acknowledge it too

Shared key (a key or a user turns the handshake on):
  --shared-key KEY        the key that clients must prove; may be \"\"
  --user NAME:PASSWORD    a user; clients must log in as one; may be repeated
  --server-hostname NAME  answer the handshake with this name (that of --name)

TLS:
  --tls                   listen with TLS; without --cert, with a self-signed
                          certificate made on the spot
  --cert-name NAME        make that one for this DNS name or IP address; may be
                          repeated (localhost, 127.0.0.1 and ::1)
  --write-cert FILE       write that certificate as PEM, for clients to trust
  --cert FILE --key FILE  use this certificate chain and key instead, both PEM
  --client-ca FILE        demand a client certificate from one of these
                          authorities (PEM)

Control:
  --control PORT|-        take control lines from standard input and from this
                          TCP port of 127.0.0.1; 0 takes a free one. With -,
                          from standard input alone (-)
  --no-stdin              read no control lines from standard input
  -h, --help              print this

When ready it prints one line: `ready port=N`, with ` control=N` if there is a
control port. It ends when standard input ends, unless --no-stdin or a control
port is given.

Control lines. Each is answered by one line: `ok`, `error: ...`, or the counts
if marked *
  count *                 records=N connections=N tls=N bytes=N acks=N errors=N
                          dropped=N open=N
  refuse                  close the listener and all connections
  listen                  listen again, on the same port
  stall                   accept, read and answer nothing more; connections
                          stay open
  resume                  end the stall
  reset                   reset (RST) all open connections
  reset-after N|off       reset each new connection after N bytes read
  drop-acks on|off        send no acks
  split-acks on|off       send acks byte by byte
  late-acks on|off        send the ack of the connection's previous chunk
                          before the right one
  wrong-acks on|off       send acks for a chunk that never was
  no-pong on|off          do not answer PING
  wrong-pong-digest on|off  answer a PING with a proof made without the key
  wrong-helo on|off       greet with a word that is not HELO
  die *                   exit at once, resetting all connections
  quit *                  close everything and exit
";

pub struct Options {
    pub address: SocketAddr,
    pub name: String,
    pub out: Option<PathBuf>,
    pub credentials: Option<Credentials>,
    pub identity: Option<Identity>,
    pub client_ca: Option<PathBuf>,
    pub control: Option<u16>,
    pub stdin: bool,
    pub as_fluentd: bool,
}

/// `None` if help was asked for.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(args);
    let (mut port, mut bind) = (0, IpAddr::from(Ipv4Addr::LOCALHOST));
    let mut name = "forward-receiver".to_owned();
    let (mut out, mut control, mut stdin) = (None, None, true);
    let (mut shared_key, mut users, mut hostname) = (None, Vec::new(), None);
    let (mut tls, mut as_fluentd) = (false, false);
    let (mut cert_names, mut write_cert) = (Vec::new(), None);
    let (mut cert, mut key, mut client_ca) = (None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(None),
            Long("port") => port = parser.value()?.parse()?,
            Long("bind") => bind = parser.value()?.parse()?,
            Long("name") => name = parser.value()?.string()?,
            Long("out") => out = Some(PathBuf::from(parser.value()?)),
            Long("shared-key") => shared_key = Some(parser.value()?.string()?),
            Long("user") => users.push(parser.value()?.parse_with(user)?),
            Long("server-hostname") => hostname = Some(parser.value()?.string()?),
            Long("tls") => tls = true,
            Long("cert-name") => cert_names.push(parser.value()?.string()?),
            Long("write-cert") => write_cert = Some(PathBuf::from(parser.value()?)),
            Long("cert") => cert = Some(PathBuf::from(parser.value()?)),
            Long("key") => key = Some(PathBuf::from(parser.value()?)),
            Long("client-ca") => client_ca = Some(PathBuf::from(parser.value()?)),
            Long("control") => control = parser.value()?.parse_with(control_port)?,
            Long("no-stdin") => stdin = false,
            Long("as-fluentd") => as_fluentd = true,
            _ => return Err(arg.unexpected()),
        }
    }
    let handshake = shared_key.is_some() || !users.is_empty();
    if hostname.is_some() && !handshake {
        return Err("--server-hostname is for the handshake; add --shared-key".into());
    }
    let credentials = handshake.then(|| Credentials {
        shared_key: shared_key.unwrap_or_default(),
        users,
        hostname: hostname.unwrap_or_else(|| name.clone()),
    });
    let makes = !cert_names.is_empty() || write_cert.is_some();
    let identity = match (cert, key) {
        (Some(_), Some(_)) if makes => {
            return Err(
                "--cert-name and --write-cert are for a certificate made here; leave out --cert \
                 and --key"
                    .into(),
            );
        }
        (Some(certificate), Some(key)) => Some(Identity::Given { certificate, key }),
        (None, None) if makes || tls => {
            Some(Identity::Made { names: cert_names, write_to: write_cert })
        }
        (None, None) => None,
        _ => return Err("--cert and --key go together; give both".into()),
    };
    if !tls && (identity.is_some() || client_ca.is_some()) {
        return Err("certificates are for TLS; add --tls".into());
    }
    Ok(Some(Options {
        address: SocketAddr::new(bind, port),
        name,
        out,
        credentials,
        identity,
        client_ca,
        control,
        stdin,
        as_fluentd,
    }))
}

fn user(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once(':') {
        Some((name, password)) => Ok((name.into(), password.into())),
        None => Err("a user is NAME:PASSWORD"),
    }
}

fn control_port(text: &str) -> Result<Option<u16>, &'static str> {
    match text {
        "-" => Ok(None),
        port => port.parse().map(Some).map_err(|_| "--control takes a port or -"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let args = line.split_whitespace().map(OsString::from);
        parse(args)
            .map(|options| options.expect("no help was asked for"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_given() {
        let options = options("").unwrap();
        assert_eq!(options.address, "127.0.0.1:0".parse().unwrap());
        assert!(
            options.credentials.is_none()
                && options.identity.is_none()
                && options.control.is_none()
        );
        assert!(options.stdin);
    }

    #[test]
    fn the_server_goes_by_its_name_in_the_handshake() {
        let hostname = |line| options(line).unwrap().credentials.unwrap().hostname;
        assert_eq!(hostname("--name node-1 --shared-key k"), "node-1");
        assert_eq!(hostname("--name node-1 --user a:b --server-hostname s"), "s");
    }

    #[test]
    fn a_password_may_hold_colons() {
        let users = options("--user ann:a:b --user bob:").unwrap().credentials.unwrap().users;
        assert_eq!(
            users,
            [("ann".to_owned(), "a:b".to_owned()), ("bob".to_owned(), String::new())]
        );
    }

    #[test]
    fn options_without_effect_are_refused() {
        for (line, fix) in [
            ("--write-cert f", "add --tls"),
            ("--client-ca f", "add --tls"),
            ("--cert f --key f", "add --tls"),
            ("--tls --cert f", "give both"),
            ("--tls --cert f --key f --cert-name a", "leave out --cert and --key"),
            ("--server-hostname s", "add --shared-key"),
            ("--user ann", "a user is NAME:PASSWORD"),
            ("--control x", "--control takes a port or -"),
            ("--port 65536", "65536"),
            ("extra", "\"extra\""),
        ] {
            let error = options(line).err().unwrap_or_default();
            assert!(error.contains(fix), "{line}: {error}");
        }
    }
}
