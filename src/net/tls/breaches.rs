//! A sentence with its fix for each way in which a server breaks the rules of TLS, and for what
//! fails on this side. Never shows the name that rustls has for it.

use rustls::{CertRevocationListError, Error, InvalidMessage, PeerMisbehaved};

const UPDATE: &str = "update the server's TLS software, or see whether a device on the way changes \
                      the data";

/// What went wrong, if no other text says it.
pub(super) fn sentence(error: &Error) -> String {
    let (what, fix) = match error {
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            ("the server sent a TLS message at a moment when it must not", UPDATE)
        }
        Error::InvalidMessage(flaw) => return message(flaw),
        Error::PeerMisbehaved(breach) => return misbehaved(breach),
        Error::DecryptError => (
            "what the server sent cannot be decrypted",
            "see whether a device on the way changes the data, and see the server's log",
        ),
        Error::PeerSentOversizedRecord => ("the server sent a TLS record that is too long", UPDATE),
        Error::EncryptError => {
            ("too much was encrypted at once; this is a defect of the library", "report it")
        }
        Error::FailedToGetCurrentTime => {
            ("this machine's clock cannot be read, or is before 1970", "set the clock")
        }
        Error::FailedToGetRandomBytes => {
            ("this machine gives no random numbers", "see why getrandom() fails in this process")
        }
        Error::UnsupportedNameType => (
            "the name to check is of a kind that no certificate carries",
            "set tls.vhost to a name that the certificate carries",
        ),
        Error::NoApplicationProtocol => {
            ("the server speaks none of the protocols of tls.alpn", "name one that it speaks")
        }
        Error::InvalidEncryptedClientHello(_) => (
            "the server wants an encrypted ClientHello, which the library does not send",
            "switch that off on the server",
        ),
        Error::InconsistentKeys(_) => (
            "the key of tls.key_file does not belong to the certificate of tls.crt_file",
            "set both to a pair",
        ),
        _ => ("TLS failed on this side", "see the server's log, and report it"),
    };
    format!("{what}; {fix}")
}

/// What is wrong with a message of the server.
fn message(flaw: &InvalidMessage) -> String {
    use InvalidMessage as Flaw;
    let (what, fix) = match flaw {
        Flaw::InvalidContentType | Flaw::UnknownProtocolVersion => (
            "the server does not answer in TLS",
            "is this its plaintext port? Set tls off, or name its TLS port",
        ),
        Flaw::MessageTooLarge => ("the server sent a TLS message that is too long", UPDATE),
        // No other message of a handshake may be so long.
        Flaw::CertificatePayloadTooLarge | Flaw::HandshakePayloadTooLarge => (
            "the server sends more certificates than the library takes (64 KiB)",
            "let it send only its own and those of the CAs that lead to the root",
        ),
        Flaw::UnsupportedCurveType | Flaw::UnsupportedKeyExchangeAlgorithm(_) => (
            "the server wants a key exchange that the library does not speak",
            "allow X25519 or P-256 on the server",
        ),
        Flaw::InvalidDhParams => (
            "the server's Diffie-Hellman parameters are broken or too weak",
            "allow ECDHE with X25519 or P-256 on the server",
        ),
        Flaw::UnsupportedCompression => {
            ("the server wants TLS compression, which is not safe", "switch it off on the server")
        }
        Flaw::InvalidCertificateStatusType => (
            "the server sends the status of its certificate in a form that is not OCSP",
            "switch stapling off there, or fix it",
        ),
        Flaw::NoSignatureSchemes | Flaw::InvalidCertRequest => {
            ("the server's request for a client certificate is broken", UPDATE)
        }
        _ => ("the server sent a TLS message that is broken", UPDATE),
    };
    format!("{what}; {fix}")
}

/// Which rule of TLS the server broke.
fn misbehaved(breach: &PeerMisbehaved) -> String {
    use PeerMisbehaved as Breach;
    let (what, fix) = match breach {
        Breach::TooManyRenegotiationRequests => (
            "the server wants to renegotiate TLS, which the library does not do",
            "switch renegotiation off there (for example, ask for the client certificate at the \
             start, not for some paths), or allow TLSv1.3",
        ),
        Breach::AttemptedDowngradeToTls12WhenTls13IsSupported => (
            "something between here and the server made them speak an older TLS version",
            "look for a device on the way that takes TLS apart, or set tls.max_version TLSv1.2",
        ),
        Breach::TooManyKeyUpdateRequests => {
            ("the server asks for new keys again and again", UPDATE)
        }
        Breach::TooManyEmptyFragments => ("the server sends empty TLS records without end", UPDATE),
        Breach::TooManyWarningAlertsReceived => {
            ("the server sends warnings of TLS without end", "see its log")
        }
        Breach::SelectedUnofferedApplicationProtocol => (
            "the server chose a protocol (ALPN) that tls.alpn does not offer",
            "set tls.alpn to what the server speaks",
        ),
        Breach::SelectedUnofferedCipherSuite
        | Breach::SelectedUnusableCipherSuiteForVersion
        | Breach::SelectedDifferentCipherSuiteAfterRetry
        | Breach::CipherSuiteDifferedOnRetry
        | Breach::IllegalHelloRetryRequestWithUnofferedCipherSuite => {
            ("the server chose a cipher suite that was not offered to it", UPDATE)
        }
        Breach::SelectedUnofferedKxGroup
        | Breach::WrongGroupForKeyShare
        | Breach::IllegalHelloRetryRequestWithUnofferedNamedGroup
        | Breach::IllegalHelloRetryRequestWithOfferedGroup => {
            ("the server chose a key exchange that was not offered to it", UPDATE)
        }
        Breach::InvalidKeyShare | Breach::MissingKeyShare => {
            ("the server's part of the key exchange is broken or missing", UPDATE)
        }
        Breach::SignedKxWithWrongAlgorithm | Breach::SignedHandshakeWithUnadvertisedSigScheme => (
            "the server signs the handshake in a way that was not offered to it, such as with \
             SHA-1",
            UPDATE,
        ),
        Breach::IncorrectBinder
        | Breach::SelectedUnofferedPsk
        | Breach::SelectedInvalidPsk
        | Breach::ResumptionOfferedWithVariedCipherSuite
        | Breach::ResumptionOfferedWithVariedEms
        | Breach::ResumptionOfferedWithIncompatibleCipherSuite
        | Breach::ResumptionAttemptedWithVariedEms => {
            ("the server resumes a session in a way that it must not", UPDATE)
        }
        Breach::IllegalMiddleboxChangeCipherSpec => {
            ("the server changes the cipher at a moment when it must not", UPDATE)
        }
        Breach::KeyEpochWithPendingFragment | Breach::MessageInterleavedWithHandshakeMessage => {
            ("the server mixes the parts of TLS messages", UPDATE)
        }
        Breach::UnsolicitedCertExtension
        | Breach::UnsolicitedEncryptedExtension
        | Breach::UnsolicitedServerHelloExtension
        | Breach::UnsolicitedSctList
        | Breach::UnsolicitedEchExtension
        | Breach::UnexpectedCleartextExtension
        | Breach::DisallowedEncryptedExtension
        | Breach::BadCertChainExtensions => {
            ("the server answers with an extension that nobody asked it for", UPDATE)
        }
        _ => ("the server broke the rules of TLS in the handshake or after it", UPDATE),
    };
    format!("{what}; {fix}")
}

/// What is wrong with a revocation list.
pub(super) fn of_list(flaw: &CertRevocationListError) -> String {
    let what = match flaw {
        CertRevocationListError::BadSignature => {
            "a revocation list of tls.crl_file is not signed by the key of its CA"
        }
        CertRevocationListError::IssuerInvalidForCrl => {
            "the CA of a revocation list of tls.crl_file may not sign lists (its keyUsage lacks \
             cRLSign)"
        }
        CertRevocationListError::UnsupportedSignatureAlgorithmContext { .. }
        | CertRevocationListError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "a revocation list of tls.crl_file is signed in a way that the library does not \
             accept, such as with SHA-1"
        }
        _ => "a revocation list of tls.crl_file is broken, or the library does not read it",
    };
    format!("{what}; get the CA's present list")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind of error of rustls that a server can cause.
    #[test]
    fn no_sentence_shows_a_name_of_rust() {
        let mut errors = vec![
            Error::InappropriateMessage {
                expect_types: vec![],
                got_type: rustls::ContentType::Alert,
            },
            Error::DecryptError,
            Error::EncryptError,
            Error::FailedToGetCurrentTime,
            Error::FailedToGetRandomBytes,
            Error::PeerSentOversizedRecord,
            Error::NoApplicationProtocol,
            Error::UnsupportedNameType,
            Error::HandshakeNotComplete,
            Error::General("InternalName".to_owned()),
        ];
        errors.extend(
            [
                InvalidMessage::InvalidContentType,
                InvalidMessage::UnknownProtocolVersion,
                InvalidMessage::MessageTooLarge,
                InvalidMessage::MessageTooShort,
                InvalidMessage::CertificatePayloadTooLarge,
                InvalidMessage::HandshakePayloadTooLarge,
                InvalidMessage::MissingData("InternalName"),
                InvalidMessage::TrailingData("InternalName"),
                InvalidMessage::UnexpectedMessage("InternalName"),
                InvalidMessage::InvalidDhParams,
                InvalidMessage::UnsupportedCurveType,
                InvalidMessage::UnsupportedCompression,
                InvalidMessage::NoSignatureSchemes,
                InvalidMessage::InvalidKeyUpdate,
            ]
            .map(Error::InvalidMessage),
        );
        errors.extend(
            [
                PeerMisbehaved::TooManyRenegotiationRequests,
                PeerMisbehaved::AttemptedDowngradeToTls12WhenTls13IsSupported,
                PeerMisbehaved::TooManyKeyUpdateRequests,
                PeerMisbehaved::TooManyEmptyFragments,
                PeerMisbehaved::TooManyWarningAlertsReceived,
                PeerMisbehaved::SelectedUnofferedApplicationProtocol,
                PeerMisbehaved::SelectedUnofferedCipherSuite,
                PeerMisbehaved::SelectedUnofferedKxGroup,
                PeerMisbehaved::InvalidKeyShare,
                PeerMisbehaved::SignedKxWithWrongAlgorithm,
                PeerMisbehaved::SelectedUnofferedPsk,
                PeerMisbehaved::IllegalMiddleboxChangeCipherSpec,
                PeerMisbehaved::KeyEpochWithPendingFragment,
                PeerMisbehaved::UnsolicitedServerHelloExtension,
                PeerMisbehaved::DuplicateServerHelloExtensions,
            ]
            .map(Error::PeerMisbehaved),
        );
        for error in errors {
            let text = sentence(&error);
            assert!(text.contains("; "), "{error:?}: {text}");
            assert!(!text.contains("Internal"), "{error:?}: {text}");
            let name = format!("{error:?}");
            let mut names = name.split(['(', ')', '"', ' ']).filter(|name| name.len() > 3);
            assert!(names.all(|name| !text.contains(name)), "{error:?}: {text}");
        }
        for flaw in [
            CertRevocationListError::BadSignature,
            CertRevocationListError::IssuerInvalidForCrl,
            CertRevocationListError::ParseError,
        ] {
            assert!(of_list(&flaw).contains("tls.crl_file"), "{flaw:?}");
        }
    }
}
