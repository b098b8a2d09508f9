//! Which keys hold a secret, told by their names. For keys whose type nobody has declared, a name
//! is all there is.

use crate::base::wiped::Wiped;

/// Parts of such names, without what joins the parts of a name.
const PARTS: [&str; 16] = [
    "passw",
    "passphrase",
    "secret",
    "credential",
    "sharedkey",
    "apikey",
    "privatekey",
    "accesskey",
    "accountkey",
    "authkey",
    "licensekey",
    "signingkey",
    "encryptionkey",
    "authorization",
    "bearer",
    "connectionstring",
];
/// Ends of such names.
const ENDS: [&str; 4] = ["token", "pass", "pwd", "sas"];
/// Ends of names whose values say where a secret is.
const PLACES: [&str; 5] = ["file", "path", "dir", "directory", "url"];

/// Whether a key of this name, in any letter case, holds a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let name = letters(key);
    !PLACES.iter().any(|end| name.ends_with(end))
        && (PARTS.iter().any(|part| name.contains(part))
            || ENDS.iter().any(|end| name.ends_with(end)))
}

/// Whether a key of this name may hold a secret. Names that only look so, such as `routing_key`,
/// count too: a message then does not show the value, which does no harm.
pub(super) fn may_be_secret(key: &str) -> bool {
    let name = letters(key);
    is_secret(key) || ["key", "auth", "pin", "pw"].iter().any(|end| name.ends_with(end))
}

/// A name in small letters, without what joins its parts.
fn letters(key: &str) -> Wiped<String> {
    let joins = |sign: &char| matches!(sign, '_' | '-' | '.');
    let mut name = Wiped::new(String::with_capacity(key.len()));
    name.extend(key.chars().filter(|sign| !joins(sign)).map(|sign| sign.to_ascii_lowercase()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "shared_key",
            "Shared-Key",
            "sharedKey",
            "tls.key_passwd",
            "http_passwd",
            "PASSWORD",
            "password_hash",
            "client_secret",
            "splunk_token",
            "api_key",
            "aws.secret.access_key",
            "DB_PASS",
            "pwd",
            "credentials",
        ] {
            assert!(is_secret(name) && may_be_secret(name), "{name}");
        }
        for name in ["key", "pin", "basic_auth", "pw", "message_key"] {
            assert!(!is_secret(name) && may_be_secret(name), "{name}");
        }
        for name in
            ["host", "tls.key_file", "token_path", "compress", "tag", "username", "bypass_x"]
        {
            assert!(!may_be_secret(name), "{name}");
        }
    }
}
