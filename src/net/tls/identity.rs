//! The client's own certificate, and whether the server asked for it.

use std::cell::Cell;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

/// Whether the server asked for a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::net) enum Asked {
    /// It did not.
    #[default]
    No,
    /// It did, and got the certificate of `tls.crt_file`.
    Answered,
    /// It did, but there is none.
    InVain,
}

thread_local! {
    /// Set when the server asks for a client certificate in a handshake on this thread. rustls
    /// tells only the resolver, and the resolver does not know the connection.
    static CERTIFICATE_ASKED: Cell<Asked> = const { Cell::new(Asked::No) };
}

/// Runs a step of a handshake. The second value says whether the server asked for a certificate in
/// it.
pub(in crate::net) fn watch_for_certificate_request<T>(step: impl FnOnce() -> T) -> (T, Asked) {
    CERTIFICATE_ASKED.set(Asked::No);
    let outcome = step();
    (outcome, CERTIFICATE_ASKED.get())
}

/// The client's own certificate, if it has one.
#[derive(Debug)]
pub(super) struct Identity(pub(super) Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        CERTIFICATE_ASKED.set(if self.0.is_some() { Asked::Answered } else { Asked::InVain });
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
