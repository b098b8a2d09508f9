//! One sentence with its fix for each alert, each incompatibility and each flaw of a certificate.
//! Never shows the name that rustls has for it.

use rustls::{AlertDescription, CertificateError, PeerIncompatible};

/// What an alert of the server means.
pub(super) fn alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let (what, fix) = match alert {
        Alert::CloseNotify => ("the server closed TLS", "see its log"),
        Alert::UserCanceled => ("the server cancelled the handshake", "see its log"),
        Alert::InternalError => ("the server failed in the handshake", "see its log"),
        Alert::UnexpectedMessage => {
            ("the server did not expect this TLS message", "update its TLS software")
        }
        Alert::BadRecordMac | Alert::DecryptionFailed | Alert::DecryptError => (
            "the server could not decrypt or verify what it received",
            "see whether a device on the way changes the data, and see the server's log",
        ),
        Alert::RecordOverflow => {
            ("the server got a TLS record that is too long for it", "update its TLS software")
        }
        Alert::DecompressionFailure => {
            ("the server could not decompress what it received", "switch TLS compression off there")
        }
        Alert::IllegalParameter | Alert::DecodeError => {
            ("the server does not understand the handshake", "update its TLS software")
        }
        Alert::MissingExtension => {
            ("the server misses an extension in the handshake", "update its TLS software")
        }
        Alert::UnsupportedExtension => {
            ("the server does not support an extension of the handshake", "update its TLS software")
        }
        Alert::HandshakeFailure => (
            "the server refuses the handshake (alert 40): no cipher suite, key exchange or kind of \
             certificate in common",
            "allow ECDHE with AES-GCM or ChaCha20-Poly1305 on the server",
        ),
        Alert::InsufficientSecurity | Alert::ExportRestriction => {
            ("the server wants other ciphers", "see tls.ciphers")
        }
        Alert::ProtocolVersion => (
            "the server speaks no TLS version between tls.min_version and tls.max_version (alert \
             70)",
            "allow a version that the server speaks (the library speaks TLSv1.2 and TLSv1.3), or \
             update its TLS software",
        ),
        Alert::InappropriateFallback => (
            "the server speaks a higher TLS version than was offered to it",
            "raise tls.max_version",
        ),
        Alert::NoRenegotiation => ("the server does not renegotiate", "see its log"),
        Alert::NoApplicationProtocol => (
            "the server wants an application protocol (ALPN), and none is offered",
            "set tls.alpn to one that it speaks",
        ),
        Alert::EncryptedClientHelloRequired => (
            "the server wants an encrypted ClientHello, which the library does not send",
            "switch that off on the server",
        ),
        Alert::UnknownPSKIdentity => {
            ("the server does not know the session or key that it was offered", "see its log")
        }
        Alert::UnrecognisedName => {
            ("the server does not know the name that it was sent", "set tls.vhost to its name")
        }
        Alert::CertificateRequired | Alert::NoCertificate => {
            ("the server asks for a client certificate", "set tls.crt_file and tls.key_file")
        }
        Alert::CertificateUnobtainable
        | Alert::BadCertificateStatusResponse
        | Alert::BadCertificateHashValue => {
            ("the server could not get or check a certificate", "see its log")
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => {
            ("the server refuses a certificate, or refuses this client", "see its log")
        }
        other => {
            return format!(
                "the server sent the TLS alert {}, which the library does not know; see the \
                 server's log",
                u8::from(other)
            );
        }
    };
    format!("{what}; {fix}")
}

/// Why client and server cannot speak TLS with each other.
pub(super) fn incompatible(reason: &PeerIncompatible) -> String {
    let (what, fix) = match reason {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => (
            "the server speaks no TLS version between tls.min_version and tls.max_version",
            "allow a version that the server speaks (the library speaks TLSv1.2 and TLSv1.3), or \
             update its TLS software",
        ),
        PeerIncompatible::NoCipherSuitesInCommon => {
            ("the server has no cipher suite in common with the library", "see tls.ciphers")
        }
        PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired => (
            "the server has no key exchange in common with the library",
            "allow X25519 or P-256 on the server",
        ),
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => (
            "the server has no signature algorithm in common with the library",
            "allow RSA-PSS, ECDSA or Ed25519 on the server",
        ),
        PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::UncompressedEcPointsRequired => (
            "the server does not take elliptic curve points in the usual form",
            "update its TLS software",
        ),
        PeerIncompatible::NullCompressionRequired => {
            ("the server wants TLS compression, which is not safe", "switch it off on the server")
        }
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => (
            "the server does not support the extended master secret (RFC 7627)",
            "update its TLS software, or let it speak TLSv1.3",
        ),
        PeerIncompatible::IncorrectCertificateTypeExtension
        | PeerIncompatible::UnsolicitedCertificateTypeExtension => (
            "the server wants to use certificates of another kind than X.509",
            "set it to X.509 certificates",
        ),
        _ => (
            "the server speaks TLS in a way that the library does not support",
            "update its TLS software",
        ),
    };
    format!("{what}; {fix}")
}

/// What is wrong with a server's certificate, if no other text in `error` says it.
pub(super) fn certificate(refusal: &CertificateError) -> String {
    let (what, fix) = match refusal {
        CertificateError::BadEncoding => {
            ("the certificate is broken or not X.509 v3", "install another one on the server")
        }
        CertificateError::Revoked => {
            ("the certificate is revoked", "install a new one on the server")
        }
        CertificateError::UnknownRevocationStatus => (
            "no list of tls.crl_file is of the CA that issued the certificate, so nobody knows \
             whether it is revoked",
            "add that CA's list to tls.crl_file",
        ),
        CertificateError::ExpiredRevocationList => (
            "the revocation list of the CA in tls.crl_file is out of date",
            "get the CA's present list",
        ),
        CertificateError::InvalidOcspResponse => {
            ("the server sends a broken OCSP answer", "switch OCSP stapling off there, or fix it")
        }
        CertificateError::UnhandledCriticalExtension => (
            "a certificate of the server's chain has a critical extension that the library does \
             not know",
            "issue it without that extension, or do not mark it critical",
        ),
        CertificateError::BadSignature => (
            "the signature of the certificate does not fit the CA's key",
            "see that the server sends the whole chain, and that tls.ca_file is the right CA",
        ),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => (
            "a certificate of the server's chain is signed in a way that the library does not \
             accept, such as with SHA-1",
            "have it issued anew with SHA-256 or better, by RSA of 2048 bits or more, ECDSA or \
             Ed25519",
        ),
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => (
            "a certificate of the server's chain is signed by a kind of key that the library does \
             not accept, or with a hash that does not go with it",
            "have it issued by RSA of 2048 bits or more, ECDSA (P-256, P-384 or P-521) or Ed25519",
        ),
        CertificateError::NotValidForName => (
            "the certificate is for another name",
            "set tls.vhost to a name it carries, or tls.verify_hostname off",
        ),
        CertificateError::NotValidYet => {
            ("the certificate is not valid yet", "check this machine's clock")
        }
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(flaw) => flaw_of_chain(flaw),
            None => REFUSED,
        },
        _ => REFUSED,
    };
    format!("{what}; {fix}")
}

const REFUSED: (&str, &str) = (
    "the certificate is refused",
    "compare it with the output of `openssl verify`, and install a new one on the server",
);

fn flaw_of_chain(flaw: &webpki::Error) -> (&'static str, &'static str) {
    match flaw {
        webpki::Error::UnsupportedCertVersion => {
            ("the certificate is not X.509 v3", "issue it as version 3")
        }
        webpki::Error::EndEntityUsedAsCa => (
            "a certificate of the chain is signed by one that is not a CA's",
            "sign it with a CA certificate (basicConstraints CA:TRUE)",
        ),
        webpki::Error::UnsupportedCriticalExtension => (
            "a certificate of the server's chain has a critical extension that the library does \
             not know",
            "issue it without that extension, or do not mark it critical",
        ),
        webpki::Error::NameConstraintViolation => (
            "a CA of the chain must not issue certificates for this name",
            "let another CA sign it",
        ),
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => (
            "the certificate's chain is longer than its CAs or the library allow",
            "use a shorter chain on the server",
        ),
        webpki::Error::MaximumSignatureChecksExceeded
        | webpki::Error::MaximumPathBuildCallsExceeded
        | webpki::Error::MaximumNameConstraintComparisonsExceeded => (
            "the server sends so many certificates that checking them takes too long",
            "let it send only its own and those of the CAs that lead to the root",
        ),
        webpki::Error::UnsupportedNameType
        | webpki::Error::MalformedNameConstraint
        | webpki::Error::InvalidNetworkMaskConstraint => (
            "a CA of the chain has name constraints that the library does not read",
            "let another CA issue the certificate",
        ),
        webpki::Error::InvalidSerialNumber => (
            "the certificate's serial number is not valid",
            "issue it with a positive number of at most 20 bytes",
        ),
        webpki::Error::ExtensionValueInvalid
        | webpki::Error::MalformedExtensions
        | webpki::Error::EmptyEkuExtension
        | webpki::Error::MalformedDnsIdentifier => {
            ("an extension of the certificate is broken", "issue a new certificate")
        }
        webpki::Error::SignatureAlgorithmMismatch => {
            ("the certificate names two different signature algorithms", "issue a new certificate")
        }
        _ => REFUSED,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    /// Each alert that rustls has a name for, and the others by their number.
    #[test]
    fn each_alert_has_its_own_sentence_and_fix() {
        for number in 0..=255 {
            let one = AlertDescription::from(number);
            let (text, name) = (alert(one), format!("{one:?}"));
            let is_known = !matches!(one, AlertDescription::Unknown(_));
            assert_eq!(is_known, !text.contains("which the library does not know"), "{text}");
            assert!(text.starts_with("the server ") && text.contains("; "), "{name}: {text}");
            assert!(!text.contains("AlertDescription") && !text.contains("Unknown("), "{text}");
        }
    }

    #[test]
    fn each_incompatibility_has_a_sentence_and_a_fix() {
        use PeerIncompatible as Reason;
        for (reason, words) in [
            (Reason::ServerDoesNotSupportTls12Or13, "no TLS version between"),
            (Reason::ServerTlsVersionIsDisabledByOurConfig, "no TLS version between"),
            (Reason::NoCipherSuitesInCommon, "cipher suite"),
            (Reason::NoKxGroupsInCommon, "X25519"),
            (Reason::NamedGroupsExtensionRequired, "X25519"),
            (Reason::KeyShareExtensionRequired, "X25519"),
            (Reason::NoSignatureSchemesInCommon, "signature algorithm"),
            (Reason::NoCertificateRequestSignatureSchemesInCommon, "signature algorithm"),
            (Reason::SignatureAlgorithmsExtensionRequired, "signature algorithm"),
            (Reason::EcPointsExtensionRequired, "elliptic curve"),
            (Reason::NoEcPointFormatsInCommon, "elliptic curve"),
            (Reason::UncompressedEcPointsRequired, "elliptic curve"),
            (Reason::NullCompressionRequired, "compression"),
            (Reason::ExtendedMasterSecretExtensionRequired, "RFC 7627"),
            (Reason::IncorrectCertificateTypeExtension, "X.509"),
            (Reason::UnsolicitedCertificateTypeExtension, "X.509"),
            (Reason::SupportedVersionsExtensionRequired, "does not support"),
        ] {
            let text = incompatible(&reason);
            assert!(text.contains(words) && text.contains("; "), "{reason:?}: {text}");
            assert!(!text.contains(&format!("{reason:?}")), "{text}");
        }
    }

    #[test]
    fn each_flaw_of_a_certificate_has_a_sentence_and_a_fix() {
        let of_chain = |flaw: webpki::Error| CertificateError::Other(OtherError(Arc::new(flaw)));
        for (flaw, words) in [
            (CertificateError::BadEncoding, "broken"),
            (CertificateError::Revoked, "revoked"),
            (CertificateError::UnhandledCriticalExtension, "critical extension"),
            (CertificateError::BadSignature, "does not fit the CA's key"),
            (CertificateError::NotValidForName, "tls.vhost"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::ApplicationVerificationFailure, "openssl verify"),
            (of_chain(webpki::Error::UnsupportedCertVersion), "version 3"),
            (of_chain(webpki::Error::UnsupportedCriticalExtension), "critical extension"),
            (of_chain(webpki::Error::EndEntityUsedAsCa), "CA:TRUE"),
            (of_chain(webpki::Error::NameConstraintViolation), "another CA"),
            (of_chain(webpki::Error::PathLenConstraintViolated), "shorter chain"),
            (of_chain(webpki::Error::MaximumPathDepthExceeded), "shorter chain"),
            (of_chain(webpki::Error::InvalidSerialNumber), "serial number"),
            (of_chain(webpki::Error::MalformedExtensions), "extension"),
            (of_chain(webpki::Error::SignatureAlgorithmMismatch), "signature algorithms"),
            (of_chain(webpki::Error::MaximumSignatureChecksExceeded), "so many certificates"),
            (of_chain(webpki::Error::UnsupportedNameType), "name constraints"),
            (CertificateError::UnknownRevocationStatus, "add that CA's list"),
            (CertificateError::ExpiredRevocationList, "present list"),
            (CertificateError::InvalidOcspResponse, "OCSP"),
        ] {
            let text = certificate(&flaw);
            assert!(text.contains(words) && text.contains("; "), "{flaw:?}: {text}");
        }
    }
}
