//! Reads `net.proxy`. It may hold a password, so no error here shows any part of it.

use percent_encoding::percent_decode_str;

use super::host::host;
use super::settings::Proxy;
use crate::base::wiped::Wiped;

/// The proxy of `http://[user:password@]host:port`. The error follows the key in the message.
pub(super) fn proxy(text: &str) -> Result<Proxy, String> {
    const FORM: &str =
        "write http://host:port, with user:password@ before the host if the proxy asks for them";
    let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    let Some(rest) = scheme.map(|scheme| &text[scheme.len()..]) else {
        return Err(format!(
            "the value does not begin with http://, and no other kind of proxy is supported; {FORM}"
        ));
    };
    let (login, authority) = match rest.rsplit_once('@') {
        Some((login, authority)) => (Some(login), authority),
        None => (None, rest),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err("something follows the port, and a proxy has no path; remove it".into());
    }
    // The last colon may be inside of an IPv6 address.
    let behind = |(_, port): &(&str, &str)| !port.ends_with(']');
    let Some((name, port)) = authority.rsplit_once(':').filter(behind) else {
        return Err(format!("there is no port; {FORM}"));
    };
    // `parse` alone would accept a leading `+`.
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = port.parse().ok().filter(|port| is_number && *port > 0) else {
        return Err(format!("the port is not a number from 1 to 65535; {FORM}"));
    };
    if name.is_empty() {
        return Err(format!("there is no host; {FORM}"));
    }
    let bare = name.contains(':') && !name.starts_with('[');
    match host(name) {
        Ok(host) if !bare => {
            let host = host.to_owned();
            Ok(Proxy { host, port, credentials: login.map(credentials).transpose()? })
        }
        _ => Err(format!(
            "the host is neither a name, nor an IPv4 address, nor an IPv6 address in brackets; \
             {FORM}"
        )),
    }
}

/// `user:password`, as RFC 7617 wants them: a user has no colon, and neither has characters that do
/// not print. In a URL, `%` and two digits stand for a byte (RFC 3986 section 2.1).
fn credentials(login: &str) -> Result<Wiped<String>, String> {
    let Some((user, password)) = login.split_once(':') else {
        return Err(
            "there is a user without a password; write user:password@ before the host".into()
        );
    };
    let mut bytes = Wiped::new(Vec::with_capacity(login.len()));
    for part in [user, password] {
        if !is_escaped(part) {
            return Err("a % in the user or password is not followed by two hexadecimal digits; \
                        write %25 for a %"
                .into());
        }
        bytes.extend(percent_decode_str(part));
        if std::ptr::eq(part, user) {
            if bytes.is_empty() || bytes.contains(&b':') {
                return Err("the user is empty or has a colon in it; no proxy takes it".into());
            }
            bytes.push(b':');
        }
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(Wiped::new(text.to_owned())),
        _ => Err("the user or password has a character that does not print, or is no UTF-8; type \
                  it again"
            .into()),
    }
}

/// Whether two hexadecimal digits follow each `%`.
fn is_escaped(part: &str) -> bool {
    part.as_bytes().split(|byte| *byte == b'%').skip(1).all(|behind| {
        behind.get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_host_and_a_port_and_may_have_a_login() {
        for (text, host, port, login) in [
            ("http://proxy.example:3128", "proxy.example", 3128, None),
            ("HTTP://192.0.2.1:1/", "192.0.2.1", 1, None),
            ("http://[::1]:65535", "::1", 65535, None),
            ("http://user:secret@h:80", "h", 80, Some("user:secret")),
            ("http://u:@h:80", "h", 80, Some("u:")),
            ("http://u%40corp:p%3a%25%2F@h:80", "h", 80, Some("u@corp:p:%/")),
            ("http://u:p@ss:w/o?r#d@h:80/", "h", 80, Some("u:p@ss:w/o?r#d")),
        ] {
            let proxy = proxy(text).unwrap();
            assert_eq!((&*proxy.host, proxy.port), (host, port), "{text}");
            assert_eq!(proxy.credentials.as_ref().map(|text| text.as_str()), login, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_not_shown() {
        for (text, words) in [
            ("hidden:3128", "http://"),
            ("https://user:hidden@h:3128", "no other kind of proxy"),
            ("socks5://h:1080", "no other kind of proxy"),
            ("http://user:hidden@h", "no port"),
            ("http://[::1]", "no port"),
            ("http://h:0", "1 to 65535"),
            ("http://h:65536", "1 to 65535"),
            ("http://h:+80", "1 to 65535"),
            ("http://h:", "1 to 65535"),
            ("http://user:hidden@:80", "no host"),
            ("http://user:hidden@::1:80", "in brackets"),
            ("http://hid den:80", "neither a name"),
            ("http://300.1.1.1:80", "neither a name"),
            ("http://h:80/hidden", "no path"),
            ("http://hidden@h:80", "without a password"),
            ("http://:hidden@h:80", "the user is empty"),
            ("http://us%3Aer:hidden@h:80", "a colon"),
            ("http://user:hidden%2@h:80", "%25"),
            ("http://user:hidden%zz@h:80", "%25"),
            ("http://user:hidden%0a@h:80", "does not print"),
            ("http://user:hidden%ff@h:80", "does not print"),
        ] {
            let error = proxy(text).err().unwrap();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("hid"), "{text}: {error}");
        }
    }
}
