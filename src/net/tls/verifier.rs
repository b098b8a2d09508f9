//! The check of the server's certificate: chain, revocation, dates and name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::flaw::{self, Chain};
use super::x509::Certificate;

/// Checks the server's certificate as `tls.verify` and `tls.verify_hostname` ask for it.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) roots: Arc<RootCertStore>,
    /// The certificates of `tls.ca_file` and `tls.ca_path`.
    pub(super) given: Vec<CertificateDer<'static>>,
    /// What checks the lists of `tls.crl_file`.
    pub(super) lists: Option<Lists>,
    pub(super) chain: bool,
    pub(super) hostname: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// The two checks of revocation.
#[derive(Debug)]
pub(super) struct Lists {
    /// The server's certificate, for which there must be a list.
    pub(super) server: Arc<WebPkiServerVerifier>,
    /// The CAs above it, as far as there are lists.
    pub(super) above: Arc<WebPkiServerVerifier>,
}

impl Verifier {
    /// With `tls.verify off` any certificate is accepted, also one that webpki cannot read (X.509
    /// v1 of an old device) or whose key is too short for it. That is no weaker: an attacker could
    /// present a readable certificate.
    fn takes_unread(&self, certificate: &CertificateDer<'_>) -> bool {
        !self.chain
            && (ParsedCertificate::try_from(certificate).is_err()
                || Certificate::read(certificate).is_ok_and(|read| read.short_rsa().is_some()))
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        match verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        ) {
            // A self-signed certificate made by `openssl req -x509` is a CA and the server's own at
            // once. If it is in tls.ca_file, it is trusted, as OpenSSL does. webpki has checked its
            // dates before it reports this error, but not what it is for.
            Err(error) if flaw::is_ca_as_server(&error) && self.given.contains(certificate) => {
                match Certificate::read(certificate).is_ok_and(|read| read.is_for_servers()) {
                    true => Ok(()),
                    false => Err(CertificateError::InvalidPurpose.into()),
                }
            }
            Ok(()) => self.check_revocation(certificate, intermediates, now),
            Err(error) => Err(error),
        }
    }

    fn check_revocation(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(Lists { server, above }) = &self.lists else { return Ok(()) };
        // Any name: these check it last, and what they say of it does not matter here.
        let name = ServerName::try_from("name.invalid").map_err(|_| Error::UnsupportedNameType)?;
        for check in [server, above] {
            match check.verify_server_cert(certificate, intermediates, &name, &[], now) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                ))
                | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.chain {
            return Ok(ServerCertVerified::assertion());
        }
        let checked =
            self.check_chain(certificate, intermediates, now).and_then(|()| match self.hostname {
                true => verify_server_name(&ParsedCertificate::try_from(certificate)?, name),
                false => Ok(()),
            });
        let chain = Chain { certificate, intermediates, given: &self.given, roots: &self.roots };
        checked.map_err(|error| flaw::explained(error, &chain, name))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.takes_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| flaw::of_handshake(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.takes_unread(certificate) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
            .map_err(|error| flaw::of_handshake(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
