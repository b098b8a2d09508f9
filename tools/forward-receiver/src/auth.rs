//! The shared-key handshake of the Forward protocol, from the server's side: HELO, PING, PONG.
//! Pure: the random bytes come with the `Challenge`. It must never accept a PING that it did not
//! check.

use crate::forward::{encode, name, parse};
use crate::scan::{DecodeError, err};
use aws_lc_rs::digest::{SHA512, digest};
use rmpv::{Value, ValueRef};

pub struct Credentials {
    pub shared_key: String,
    /// Name and password; empty when any client that has the key may send.
    pub users: Vec<(String, String)>,
    /// The name that this server uses in its proof.
    pub hostname: String,
}

/// The random part of one connection's handshake.
pub struct Challenge {
    pub nonce: [u8; 16],
    pub auth_salt: [u8; 16],
}

/// The result of a PING.
pub struct Verdict {
    pub accepted: Result<(), String>,
    /// The salt that the client chose; the server's proof must include it.
    salt: Vec<u8>,
}

impl Credentials {
    /// The server's first message. `word` is HELO, unless a test wants another word.
    pub fn helo(&self, challenge: &Challenge, word: &str) -> Vec<u8> {
        let auth = if self.users.is_empty() { Vec::new() } else { challenge.auth_salt.to_vec() };
        encode(&Value::Array(vec![
            word.into(),
            Value::Map(vec![
                ("nonce".into(), Value::Binary(challenge.nonce.to_vec())),
                ("auth".into(), Value::Binary(auth)),
                ("keepalive".into(), true.into()),
            ]),
        ]))
    }

    /// Checks `["PING", hostname, salt, digest, user, password digest]`.
    pub fn check(&self, challenge: &Challenge, ping: &[u8]) -> Result<Verdict, DecodeError> {
        let ValueRef::Array(items) = parse(ping)? else {
            return err("something other than a PING before the shared key was proved");
        };
        let fields: Vec<&[u8]> = items.iter().map(text).collect::<Result<_, _>>()?;
        let [b"PING", hostname, salt, proof, user, password] = fields[..] else {
            return err(format!(
                "an array of {} before the shared key was proved; a PING has 6 elements",
                fields.len()
            ));
        };
        let expected = hex_digest(&[salt, hostname, &challenge.nonce, self.shared_key.as_bytes()]);
        let accepted = if expected.as_bytes() != proof {
            Err("shared_key mismatch".to_owned())
        } else if !self.knows(challenge, user, password) {
            Err("username/password mismatch".to_owned())
        } else {
            Ok(())
        };
        Ok(Verdict { accepted, salt: salt.to_vec() })
    }

    /// The answer to a checked PING. `forged` replaces the server's proof by one made without the
    /// key.
    pub fn pong(&self, challenge: &Challenge, verdict: &Verdict, forged: bool) -> Vec<u8> {
        let (accepted, reason, hostname, proof) = match &verdict.accepted {
            Err(reason) => (false, reason.as_str(), "", String::new()),
            Ok(()) => {
                let key = if forged { "" } else { self.shared_key.as_str() };
                let last = if forged { "forged" } else { "" };
                let parts: [&[u8]; 5] = [
                    &verdict.salt,
                    self.hostname.as_bytes(),
                    &challenge.nonce,
                    key.as_bytes(),
                    last.as_bytes(),
                ];
                (true, "", self.hostname.as_str(), hex_digest(&parts))
            }
        };
        let fields = ["PONG".into(), accepted.into(), reason.into(), hostname.into(), proof.into()];
        encode(&Value::Array(fields.into()))
    }

    fn knows(&self, challenge: &Challenge, user: &[u8], proof: &[u8]) -> bool {
        self.users.is_empty()
            || self.users.iter().any(|(name, password)| {
                name.as_bytes() == user
                    && hex_digest(&[&challenge.auth_salt, user, password.as_bytes()]).as_bytes()
                        == proof
            })
    }
}

/// An element of a PING: clients send the salt as binary data or as a string that is not UTF-8.
fn text<'a>(value: &'a ValueRef<'_>) -> Result<&'a [u8], DecodeError> {
    match value {
        ValueRef::String(text) => Ok(text.as_bytes()),
        ValueRef::Binary(bytes) => Ok(bytes),
        other => err(format!("{} in a message before the shared key was proved", name(other))),
    }
}

fn hex_digest(parts: &[&[u8]]) -> String {
    digest(&SHA512, &parts.concat()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: Challenge = Challenge { nonce: [0xfe; 16], auth_salt: [0xfd; 16] };

    fn credentials(users: &[(&str, &str)]) -> Credentials {
        let users =
            users.iter().map(|(name, password)| ((*name).into(), (*password).into())).collect();
        Credentials { shared_key: "secret".into(), users, hostname: "server".into() }
    }

    fn ping(key: &str, user: &str, password: &str) -> Vec<u8> {
        let proof = hex_digest(&[b"salt", b"client", &CHALLENGE.nonce, key.as_bytes()]);
        let password = hex_digest(&[&CHALLENGE.auth_salt, user.as_bytes(), password.as_bytes()]);
        let fields = ["PING", "client", "salt", &proof, user, &password];
        encode(&Value::Array(fields.iter().map(|field| Value::from(*field)).collect()))
    }

    fn pong_fields(credentials: &Credentials, verdict: &Verdict, forged: bool) -> Vec<Value> {
        let bytes = credentials.pong(&CHALLENGE, verdict, forged);
        rmpv::decode::read_value(&mut &bytes[..]).unwrap().as_array().unwrap().clone()
    }

    #[test]
    fn digests_are_lower_case_hexadecimal_sha512() {
        // FIPS 180-2, appendix C.1.
        let abc = hex_digest(&[b"a", b"bc"]);
        assert!(abc.starts_with("ddaf35a193617abacc417349ae204131") && abc.len() == 128);
    }

    #[test]
    fn the_right_key_is_accepted_and_answered_with_proof() {
        let credentials = credentials(&[]);
        let verdict = credentials.check(&CHALLENGE, &ping("secret", "", "")).unwrap();
        assert_eq!(verdict.accepted, Ok(()));
        let proof = hex_digest(&[b"salt", b"server", &CHALLENGE.nonce, b"secret"]);
        let expected: Vec<Value> =
            vec!["PONG".into(), true.into(), "".into(), "server".into(), proof.into()];
        assert_eq!(pong_fields(&credentials, &verdict, false), expected);

        let forged = pong_fields(&credentials, &verdict, true);
        assert_eq!(forged[..4], expected[..4]);
        assert_ne!(forged[4], expected[4]);
    }

    #[test]
    fn a_forged_proof_is_wrong_even_for_an_empty_key() {
        let credentials = Credentials { shared_key: String::new(), ..credentials(&[]) };
        let verdict = credentials.check(&CHALLENGE, &ping("", "", "")).unwrap();
        let real = pong_fields(&credentials, &verdict, false);
        assert_ne!(pong_fields(&credentials, &verdict, true)[4], real[4]);
    }

    #[test]
    fn a_wrong_key_is_refused_without_proof() {
        let credentials = credentials(&[]);
        let verdict = credentials.check(&CHALLENGE, &ping("guess", "", "")).unwrap();
        let expected: Vec<Value> =
            vec!["PONG".into(), false.into(), "shared_key mismatch".into(), "".into(), "".into()];
        assert_eq!(pong_fields(&credentials, &verdict, false), expected);
    }

    #[test]
    fn users_are_checked_by_name_and_password() {
        let credentials = credentials(&[("ann", "a"), ("bob", "b")]);
        let accepted = |user, password| {
            credentials.check(&CHALLENGE, &ping("secret", user, password)).unwrap().accepted
        };
        assert_eq!(accepted("bob", "b"), Ok(()));
        for (user, password) in [("bob", "a"), ("eve", "b"), ("", "")] {
            assert_eq!(accepted(user, password), Err("username/password mismatch".to_owned()));
        }
    }

    #[test]
    fn the_auth_salt_is_sent_only_when_there_are_users() {
        let auth = |users: &[(&str, &str)]| {
            let helo = credentials(users).helo(&CHALLENGE, "HELO");
            let helo = rmpv::decode::read_value(&mut &helo[..]).unwrap();
            assert_eq!(helo[0], Value::from("HELO"));
            assert_eq!(helo[1]["nonce"], Value::Binary(CHALLENGE.nonce.to_vec()));
            assert_eq!(helo[1]["keepalive"], Value::from(true));
            helo[1]["auth"].as_slice().unwrap().to_vec()
        };
        assert_eq!(auth(&[]), b"");
        assert_eq!(auth(&[("ann", "a")]), CHALLENGE.auth_salt);
    }

    #[test]
    fn records_before_the_key_are_an_error() {
        let records = encode(&Value::Array(vec!["app".into(), Value::Array(vec![])]));
        assert!(credentials(&[]).check(&CHALLENGE, &records).is_err());
    }
}
