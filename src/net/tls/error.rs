//! Explains a failed handshake or record, and names the keys that fix it.

use rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, ProtocolVersion,
};

use super::breaches;
use super::client::TlsClient;
use super::dates::age;
use super::flaw::{Flaw, is_ca_as_server};
use super::identity::Asked;
use super::reasons;
use crate::base::error::Status;
use crate::config::TlsVersion;

/// Status and text for a TLS failure. `asked`: whether the server asked for a client certificate.
/// `after`: the version, if it came after the handshake.
pub(in crate::net) fn explain(
    error: &TlsError,
    client: &TlsClient,
    asked: Asked,
    after: Option<ProtocolVersion>,
) -> (Status, String) {
    match error {
        TlsError::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::NoRenegotiation,
        ) if after == Some(ProtocolVersion::TLSv1_2) || after.is_some() && asked == Asked::No => {
            let text = "the server ended TLS (alert 40 or 100): it wanted to renegotiate, which \
                        the library does not do; switch renegotiation off there (for example, ask \
                        for the client certificate at the start, not for some paths), or allow \
                        TLSv1.3";
            (Status::Tls, text.to_owned())
        }
        TlsError::InvalidCertificate(refusal) => {
            (Status::Cert, certificate(error, refusal, client))
        }
        TlsError::NoCertificatesPresented => {
            (Status::Cert, "the server sent no certificate; set one on the server".to_owned())
        }
        TlsError::AlertReceived(alert) => alert_received(*alert, client, asked),
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => (
            Status::Tls,
            "the server does not answer in TLS; is this its plaintext port? Set tls off, or name \
             its TLS port"
                .to_owned(),
        ),
        TlsError::PeerIncompatible(reason) => (Status::Tls, reasons::incompatible(reason)),
        TlsError::InvalidCertRevocationList(flaw) => (Status::Cert, breaches::of_list(flaw)),
        other => (Status::Tls, breaches::sentence(other)),
    }
}

fn certificate(error: &TlsError, refusal: &CertificateError, client: &TlsClient) -> String {
    match refusal {
        CertificateError::Other(other) if other.0.is::<Flaw>() => other.0.to_string(),
        CertificateError::UnknownIssuer => {
            let trusted = match (&client.settings.ca_file, &client.settings.ca_path) {
                (None, None) => "the system's certificate store does not know",
                _ => "tls.ca_file and tls.ca_path do not contain",
            };
            format!(
                "the certificate's issuer is not trusted: {trusted} it; set tls.ca_file to the CA \
                 that signed it (or tls.verify off, which lets anyone pose as the server)"
            )
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the certificate has expired ({} ago); renew it on the server, and check this \
             machine's clock",
            age(time.as_secs().saturating_sub(not_after.as_secs()))
        ),
        CertificateError::Expired => {
            "the certificate's dates are not in order: it ends before it begins; renew it on the \
             server"
                .to_owned()
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the certificate is not valid yet (for another {}); is this machine's clock right?",
            age(not_before.as_secs().saturating_sub(time.as_secs()))
        ),
        CertificateError::ExpiredRevocationListContext { time, next_update } => format!(
            "the revocation list of the CA in tls.crl_file ended {} ago, so nobody knows whether \
             the certificate is revoked; get the CA's present list",
            age(time.as_secs().saturating_sub(next_update.as_secs()))
        ),
        CertificateError::InvalidPurposeContext { .. } | CertificateError::InvalidPurpose => {
            "the certificate is not meant for a server (extended key usage lacks serverAuth); have \
             it issued for a server"
                .to_owned()
        }
        _ if is_ca_as_server(error) => "the certificate is a self-signed certificate of a CA; set \
                                        tls.ca_file to this very certificate, or let the server \
                                        use one that its CA signed"
            .to_owned(),
        other => reasons::certificate(other),
    }
}

fn alert_received(alert: AlertDescription, client: &TlsClient, asked: Asked) -> (Status, String) {
    use AlertDescription as Alert;
    let asks = "the server asks for a client certificate; set tls.crt_file and tls.key_file";
    if let Some(why) = certificate_refused(alert) {
        match asked {
            Asked::InVain => return (Status::Cert, asks.to_owned()),
            Asked::No if client.settings.crt_file.is_none() => {}
            Asked::No | Asked::Answered => {
                let text =
                    format!("the server refuses the client certificate of tls.crt_file: {why}");
                return (Status::Cert, text);
            }
        }
    }
    match alert {
        Alert::CertificateRequired | Alert::NoCertificate => (Status::Cert, asks.to_owned()),
        // Before TLS 1.3 a server has only general alerts to say the same with.
        Alert::HandshakeFailure if asked == Asked::InVain => (Status::Cert, asks.to_owned()),
        Alert::HandshakeFailure if asked == Asked::Answered => (
            Status::Cert,
            "the server refuses the handshake after it saw the client certificate of tls.crt_file \
             (alert 40): it does not take its kind of key; use RSA of 2048 bits or more, or ECDSA \
             with P-256"
                .to_owned(),
        ),
        Alert::HandshakeFailure => (Status::Tls, nothing_in_common(client)),
        Alert::IllegalParameter if asked == Asked::Answered => (
            Status::Cert,
            "the server refuses the client certificate of tls.crt_file (alert 47): if its key is \
             on P-521, that works only with TLSv1.3; use a key on P-256 or P-384, or let the \
             server speak TLSv1.3"
                .to_owned(),
        ),
        Alert::InsufficientSecurity if client.settings.ciphers.is_none() => {
            (Status::Tls, nothing_in_common(client))
        }
        Alert::NoApplicationProtocol if !client.settings.alpn.is_empty() => (
            Status::Tls,
            format!(
                "the server speaks none of the protocols of tls.alpn ({}); name one that it speaks",
                client.settings.alpn.join(", ")
            ),
        ),
        Alert::UnrecognisedName => (
            Status::Tls,
            format!(
                "the server does not know the name \"{}\"; set tls.vhost to its name",
                client.name.to_str()
            ),
        ),
        other => (Status::Tls, reasons::alert(other)),
    }
}

/// What a server may lack that sends only the alert `handshake_failure`.
fn nothing_in_common(client: &TlsClient) -> String {
    let what = "the server refuses the handshake (alert 40): no cipher suite, key exchange or kind \
                of certificate in common";
    match client.settings.ciphers.is_some() || client.settings.max_version < TlsVersion::V1_3 {
        true => format!(
            "{what}; see tls.ciphers and tls.max_version, and allow ECDHE with AES-GCM or \
             ChaCha20-Poly1305 on the server"
        ),
        false => format!(
            "{what}. The library speaks ECDHE (X25519, P-256, P-384) with AES-GCM or \
             ChaCha20-Poly1305, and no RSA or DHE key exchange; allow that on the server, and use \
             there a certificate with an RSA, ECDSA (P-256 or P-384; P-521 only with TLSv1.3) or \
             Ed25519 key"
        ),
    }
}

/// Why the server refuses the client certificate, and the fix, if the alert is about one (RFC 8446
/// section 6.2).
fn certificate_refused(alert: AlertDescription) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match alert {
        Alert::CertificateExpired => "it has expired, or the server's clock is wrong; renew it",
        Alert::CertificateRevoked => "it was revoked; have a new one issued",
        Alert::UnknownCA => {
            "the server does not trust the CA that signed it; name that CA to the server, or have \
             the certificate issued by one that it trusts"
        }
        Alert::UnsupportedCertificate => {
            "the server does not read this kind of certificate; check its key, and that its \
             extended key usage allows clientAuth"
        }
        Alert::AccessDenied => "it is valid, but has no access; check the server's access rules",
        Alert::BadCertificate | Alert::CertificateUnknown => {
            "check that it is within its dates, meant for a client, and signed by a CA that the \
             server trusts"
        }
        _ => return None,
    })
}
