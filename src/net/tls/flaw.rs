//! What is wrong with a server's chain of certificates, as far as only the certificates tell: which
//! of them it is, and what it is called. `error` and `reasons` say the rest.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, Error, OtherError, RootCertStore};

use super::dates::age;
use super::x509::{Certificate, RSA_LEAST, name};

/// A sentence with its fix about a certificate.
#[derive(Debug)]
pub(super) struct Flaw(pub(super) String);

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Flaw {}

/// What the server sent, and what is trusted.
pub(super) struct Chain<'a> {
    pub(super) certificate: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) given: &'a [CertificateDer<'static>],
    pub(super) roots: &'a RootCertStore,
}

/// Whether webpki refused a certificate only because it is a CA certificate.
pub(super) fn is_ca_as_server(error: &Error) -> bool {
    of_chain(error).is_some_and(|flaw| matches!(flaw, webpki::Error::CaUsedAsEndEntity))
}

fn of_chain(error: &Error) -> Option<&webpki::Error> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.downcast_ref(),
        _ => None,
    }
}

/// The error with a [`Flaw`] in it, if the certificates tell more than the error.
pub(super) fn explained(error: Error, chain: &Chain<'_>, name: &ServerName<'_>) -> Error {
    let Error::InvalidCertificate(refusal) = &error else { return error };
    let Ok(own) = Certificate::read(chain.certificate) else { return error };
    let text = match refusal {
        CertificateError::UnknownIssuer => chain.unknown_issuer(&own),
        CertificateError::BadSignature => chain.bad_signature(&own),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            chain.short_key(&own)
        }
        CertificateError::ExpiredContext { time, not_after }
            if own.ends.unix_duration().as_secs() != not_after.as_secs() =>
        {
            let ago = age(time.as_secs().saturating_sub(not_after.as_secs()));
            let whose = chain.ending(not_after.as_secs());
            Some(format!(
                "{whose} has expired ({ago} ago); renew it on the server, and check this machine's \
                 clock"
            ))
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            Some(for_others(&own, presented, name))
        }
        _ if of_chain(&error).is_some() => chain.other(&own, of_chain(&error)),
        _ => None,
    };
    text.map_or(error, told)
}

/// The same for the signature of the handshake.
pub(super) fn of_handshake(error: Error, certificate: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(refusal) = &error else { return error };
    let short = Certificate::read(certificate).ok().and_then(|own| own.short_rsa());
    match (short, refusal) {
        (Some(bits), _) => told(too_short("the server's certificate", bits)),
        (None, CertificateError::BadSignature) => told(
            "the server's signature in the handshake does not fit its certificate; set the \
             certificate and the key of the server to a pair"
                .to_owned(),
        ),
        (None, CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }) => told(
            "the server signs the handshake with a kind of key that the library does not accept; \
             give it a certificate with an RSA key of 2048 bits or more, ECDSA (P-256, P-384 or \
             P-521) or Ed25519"
                .to_owned(),
        ),
        _ => error,
    }
}

fn told(text: String) -> Error {
    CertificateError::Other(OtherError(Arc::new(Flaw(text)))).into()
}

fn too_short(whose: &str, bits: usize) -> String {
    format!(
        "{whose} has an RSA key of {bits} bits, and fewer than {RSA_LEAST} are not safe; issue it \
         with a longer key"
    )
}

/// How many names of a certificate a message lists.
const NAMES_SHOWN: usize = 20;

/// The certificate is not for `name`. `presented` are its names as rustls gives them:
/// `DnsName("a.example")`, `IpAddress(10.0.0.7)`, and others that no server is checked for.
fn for_others(own: &Certificate<'_>, presented: &[String], name: &ServerName<'_>) -> String {
    let wanted = name.to_str();
    let inside = |text: &'static str, end: &'static str| {
        presented.iter().filter_map(move |name| name.strip_prefix(text)?.strip_suffix(end))
    };
    let names: Vec<&str> = inside("DnsName(\"", "\")").collect();
    let addresses: Vec<&str> = inside("IpAddress(", ")").collect();
    if names.is_empty() && addresses.is_empty() {
        return nameless(own, name);
    }
    if matches!(name, ServerName::IpAddress(_)) && names.contains(&&*wanted) {
        return format!(
            "the certificate has \"{wanted}\" as a DNS name, and an IP address does not count \
             there; issue it with subjectAltName=IP:{wanted}, or set tls.verify_hostname off"
        );
    }
    let all = names.len() + addresses.len();
    let mut list: Vec<&str> = names.into_iter().chain(addresses).take(NAMES_SHOWN).collect();
    if all > NAMES_SHOWN {
        list.push("and others");
    }
    format!(
        "the certificate is for {}, not for \"{wanted}\"; set tls.vhost to a name it carries, or \
         tls.verify_hostname off",
        list.join(", ")
    )
}

fn nameless(own: &Certificate<'_>, name: &ServerName<'_>) -> String {
    let wanted = name.to_str();
    let has = match (own.has_alt_name(), own.common_name()) {
        (true, _) => {
            "the certificate's subjectAltName has no DNS name or IP address (only, for example, an \
             e-mail address)"
                .to_owned()
        }
        (false, Some(common)) => format!(
            "the certificate has no subjectAltName, and its common name (\"{common}\") does not \
             count (RFC 9525)"
        ),
        (false, None) => "the certificate has no subjectAltName".to_owned(),
    };
    let kind = match name {
        ServerName::IpAddress(_) => "IP",
        _ => "DNS",
    };
    format!(
        "{has}, so it is not for \"{wanted}\"; issue it with subjectAltName={kind}:{wanted}, or \
         set tls.verify_hostname off"
    )
}

impl Chain<'_> {
    fn read_intermediates(&self) -> impl Iterator<Item = Certificate<'_>> {
        self.intermediates.iter().filter_map(|one| Certificate::read(one).ok())
    }

    /// How to call the certificate of the chain that ended then.
    fn ending(&self, seconds: u64) -> String {
        let ended = |one: &Certificate<'_>| one.ends.unix_duration().as_secs() == seconds;
        match self.read_intermediates().find(ended) {
            Some(one) => {
                format!(
                    "the certificate of the CA \"{}\", which the server sends,",
                    name(one.subject)
                )
            }
            None => "a certificate of the server's chain".to_owned(),
        }
    }

    /// The issuer that nobody sent, going up from the server's certificate.
    fn top<'b>(&'b self, own: &Certificate<'b>) -> &'b [u8] {
        let read: Vec<Certificate<'b>> = self.read_intermediates().collect();
        let (mut issuer, mut steps) = (own.issuer, 0);
        while let Some(next) = read.iter().find(|one| one.subject == issuer)
            && next.subject != next.issuer
            && steps < read.len()
        {
            issuer = next.issuer;
            steps += 1;
        }
        issuer
    }

    fn knows(&self, subject: &[u8]) -> bool {
        // A trust anchor has the contents of the Name without its header.
        self.roots.roots.iter().any(|root| subject.ends_with(&root.subject))
    }

    fn trusted(&self) -> &'static str {
        match self.given.is_empty() {
            true => "the system's certificate store does not know",
            false => "tls.ca_file and tls.ca_path do not contain",
        }
    }

    fn unknown_issuer(&self, own: &Certificate<'_>) -> Option<String> {
        let fix = "set tls.ca_file to the CA that signed it (or tls.verify off, which lets anyone \
                   pose as the server)";
        let trusted = self.trusted();
        if own.is_self_issued() && self.intermediates.is_empty() {
            return Some(format!(
                "the certificate's issuer is not trusted: it is self-signed, and {trusted} it; set \
                 tls.ca_file to this very certificate (or tls.verify off, which lets anyone pose \
                 as the server)"
            ));
        }
        let missing = self.top(own);
        if self.knows(missing) {
            return Some(self.remade(missing));
        }
        let alone = match self.intermediates.is_empty() {
            true => ". If that is an intermediate CA, the server must send its certificate too",
            false => "",
        };
        Some(format!(
            "the certificate's issuer is not trusted: {trusted} \"{}\"; {fix}{alone}",
            name(missing)
        ))
    }

    fn remade(&self, subject: &[u8]) -> String {
        let whose = match self.given.is_empty() {
            true => "the system's certificate store has a CA",
            false => "tls.ca_file or tls.ca_path has a CA",
        };
        format!(
            "{whose} named \"{}\", but another key signed the server's certificate: was the CA \
             made anew under its old name? Set tls.ca_file to the CA's present certificate, or \
             have the server's issued by the CA that you trust",
            name(subject)
        )
    }

    fn bad_signature(&self, own: &Certificate<'_>) -> Option<String> {
        if let Some(text) = self.short_key(own) {
            return Some(text);
        }
        let missing = self.top(own);
        Some(match self.knows(missing) {
            true => self.remade(missing),
            false => format!(
                "the signature of the certificate does not fit the key of \"{}\", which the server \
                 sends; let the server send the CA certificate that signed it",
                name(own.issuer)
            ),
        })
    }

    /// If a key of the chain is too short.
    fn short_key(&self, own: &Certificate<'_>) -> Option<String> {
        if let Some(bits) = own.short_rsa() {
            return Some(too_short("the server's certificate", bits));
        }
        let given = self.given.iter().filter_map(|one| Certificate::read(one).ok());
        let issuers: Vec<&[u8]> =
            self.read_intermediates().map(|one| one.issuer).chain([own.issuer]).collect();
        let mut above = self.read_intermediates().chain(given);
        above.find_map(|one| {
            let bits = one.short_rsa().filter(|_| issuers.contains(&one.subject))?;
            Some(too_short(&format!("the CA \"{}\"", name(one.subject)), bits))
        })
    }

    fn other(&self, own: &Certificate<'_>, flaw: Option<&webpki::Error>) -> Option<String> {
        match flaw? {
            webpki::Error::UnsupportedCertVersion => {
                let whose = match own.version {
                    3 => "a CA certificate that the server sends",
                    _ => "the server's certificate",
                };
                Some(format!(
                    "{whose} is X.509 version 1, which carries no names and no uses; issue it as \
                     version 3 (`openssl x509 -req` does so with -extfile or -copy_extensions)"
                ))
            }
            webpki::Error::NameConstraintViolation => Some(format!(
                "a CA of the chain must not issue certificates for such names (its \
                 nameConstraints exclude what the certificate of \"{}\" carries); have it issued \
                 by another CA, or for names that this CA may use",
                name(own.subject)
            )),
            _ => None,
        }
    }
}
