//! Cipher suites and protocol versions: which of them the keys allow, and what they are called.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::base::error::{Error, Result};
use crate::config::{CipherNames, TlsSettings, TlsVersion};

/// The provider. If `tls.ciphers` is set, it has only those suites. The first key share is X25519,
/// which every server knows; X25519MLKEM768 is offered after it, for servers that require it. As
/// the first it would add 1.2 KB to each hello, and a round trip with each server that does not
/// know it.
pub(super) fn provider(ciphers: Option<&CipherNames>) -> Result<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if let Some(ciphers) = ciphers {
        let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
        for name in &ciphers.names {
            let suite = provider.cipher_suites.iter().find(|suite| {
                let iana = iana_name(suite);
                name.eq_ignore_ascii_case(&iana) || name.eq_ignore_ascii_case(&openssl_name(&iana))
            });
            let Some(suite) = suite else {
                let known: Vec<String> = provider
                    .cipher_suites
                    .iter()
                    .map(|suite| openssl_name(&iana_name(suite)))
                    .collect();
                return Err(Error::config(
                    &ciphers.position,
                    format!(
                        "tls.ciphers: \"{name}\" is not known; the known names are {}",
                        known.join(", ")
                    ),
                ));
            };
            if !chosen.contains(suite) {
                chosen.push(*suite);
            }
        }
        provider.cipher_suites = chosen;
    }
    Ok(provider)
}

/// The versions from `tls.min_version` to `tls.max_version` that have a cipher suite.
pub(super) fn versions(
    settings: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<Vec<&'static SupportedProtocolVersion>> {
    let within = |v: TlsVersion| settings.min_version <= v && v <= settings.max_version;
    let mut versions = Vec::new();
    for (v, rustls) in [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)] {
        if within(v) && provider.cipher_suites.iter().any(|suite| suite.version() == rustls) {
            versions.push(rustls);
        }
    }
    if versions.is_empty()
        && let Some(ciphers) = &settings.ciphers
    {
        return Err(Error::config(
            &ciphers.position,
            "tls.ciphers names no suite of a version between tls.min_version and tls.max_version; \
             names that begin with TLS_AES_ or TLS_CHACHA20_ are for TLSv1.3, all others for \
             TLSv1.2",
        ));
    }
    Ok(versions)
}

/// The name in the IANA registry. For TLS 1.3, OpenSSL uses the same name.
pub(in crate::net) fn iana_name(suite: &SupportedCipherSuite) -> String {
    // rustls has its own prefix for the suites of TLS 1.3.
    format!("{:?}", suite.suite()).replace("TLS13_", "TLS_")
}

/// OpenSSL's name of an IANA one: `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256` is
/// `ECDHE-RSA-AES128-GCM-SHA256`.
fn openssl_name(iana: &str) -> String {
    let Some((exchange, cipher)) =
        iana.strip_prefix("TLS_").and_then(|rest| rest.split_once("_WITH_"))
    else {
        return iana.to_owned();
    };
    let cipher = match cipher {
        "CHACHA20_POLY1305_SHA256" => "CHACHA20-POLY1305".to_owned(),
        other => other.replace("AES_", "AES").replace('_', "-"),
    };
    format!("{}-{cipher}", exchange.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Position;

    fn names(list: &[&str]) -> CipherNames {
        CipherNames {
            names: list.iter().map(|name| (*name).to_owned()).collect(),
            position: Position { file: "t.conf".into(), line: 9, column: 5 },
        }
    }

    #[test]
    fn both_kinds_of_cipher_name_are_known() {
        let chosen = provider(Some(&names(&[
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "ecdhe-ecdsa-chacha20-poly1305",
            "TLS_AES_256_GCM_SHA384",
        ])))
        .unwrap();
        let iana: Vec<String> = chosen.cipher_suites.iter().map(iana_name).collect();
        assert_eq!(
            iana,
            [
                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_AES_256_GCM_SHA384"
            ]
        );
    }

    #[test]
    fn an_unknown_cipher_lists_the_known() {
        let error = provider(Some(&names(&["RC4-MD5"]))).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "t.conf:9:5: tls.ciphers: \"RC4-MD5\" is not known; the known names are "
            ),
            "{error}"
        );
        assert!(error.contains("ECDHE-RSA-AES256-GCM-SHA384"), "{error}");
        assert!(error.contains("TLS_CHACHA20_POLY1305_SHA256"), "{error}");
    }
}
