//! Certificates and revocation lists from PEM text, in every form that OpenSSL reads.

use std::borrow::Cow;

use pkcs8::der::{Reader, SliceReader};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

/// How many certificates or lists one file may hold; the usual bundle of all public CAs has 150.
const MOST: usize = 10_000;

/// The certificates in a file.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<CertificateDer<'static>> = sections(bytes, "certificates")?;
    if found.is_empty() {
        return Err(none(
            bytes,
            "certificate",
            "CERTIFICATE",
            "openssl x509 -inform der -in FILE -out FILE.pem",
        ));
    }
    Ok(found.into_iter().map(without_trust).collect())
}

/// The revocation lists in a file.
pub(super) fn revocation_lists(
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found: Vec<CertificateRevocationListDer<'static>> = sections(bytes, "lists")?;
    if found.is_empty() {
        return Err(none(
            bytes,
            "revocation list",
            "X509 CRL",
            "openssl crl -inform der -in FILE -out FILE.pem",
        ));
    }
    Ok(found)
}

fn sections<T: PemObject>(bytes: &[u8], what: &str) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    for one in T::pem_slice_iter(&plain(bytes)) {
        if found.len() == MOST {
            return Err(format!(
                "holds over {MOST} {what}, more than the library reads; name a file with fewer"
            ));
        }
        found.push(one.map_err(|error| bad(&error))?);
    }
    Ok(found)
}

/// The text with the usual labels and without a byte order mark.
pub(super) fn plain(bytes: &[u8]) -> Cow<'_, [u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return Cow::Borrowed(bytes) };
    // OpenSSL writes and reads these labels too.
    let others = ["X509 CERTIFICATE-----", "TRUSTED CERTIFICATE-----"];
    if !others.iter().any(|label| text.contains(label)) {
        return Cow::Borrowed(bytes);
    }
    let text = others.iter().fold(text.to_owned(), |text, label| {
        text.replace(&format!("-----BEGIN {label}"), "-----BEGIN CERTIFICATE-----")
            .replace(&format!("-----END {label}"), "-----END CERTIFICATE-----")
    });
    Cow::Owned(text.into_bytes())
}

/// A TRUSTED CERTIFICATE has OpenSSL's own settings after the certificate.
fn without_trust(certificate: CertificateDer<'static>) -> CertificateDer<'static> {
    let whole = SliceReader::new(&certificate).and_then(|mut reader| reader.tlv_bytes());
    match whole.map(<[u8]>::len) {
        Ok(length) if length < certificate.len() => certificate[..length].to_vec().into(),
        _ => certificate,
    }
}

/// Why there is nothing in `bytes`, with the fix.
fn none(bytes: &[u8], what: &str, label: &str, convert: &str) -> String {
    match binary(bytes) {
        Some(binary) => format!("{binary}; convert it to PEM: `{convert}`"),
        None => format!(
            "holds no {what}; write it in PEM (\"-----BEGIN {label}-----\"). To convert DER: \
             `{convert}`"
        ),
    }
}

/// What the bytes are, if they are not the text of PEM.
pub(super) fn binary(bytes: &[u8]) -> Option<&'static str> {
    let is_der = bytes.first() == Some(&0x30)
        && SliceReader::new(bytes)
            .and_then(|mut reader| reader.tlv_bytes())
            .is_ok_and(|whole| whole.len() == bytes.len());
    match bytes {
        _ if is_der => Some("is binary (DER or PKCS#12), not the text of PEM"),
        [0x30, 0x80..=0x84, ..] => Some("is binary (DER or PKCS#12), not the text of PEM"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("is in UTF-16, not in ASCII"),
        _ => None,
    }
}

/// What is wrong with broken PEM, with the fix.
pub(super) fn bad(error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no \"-----END\" line",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is broken",
        pem::Error::Base64Decode(_) => "the text of a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    format!("is not good PEM: {what}; write the file again")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";

    #[test]
    fn broken_pem_is_told_in_a_sentence() {
        for (pem, words) in [
            ("", "holds no certificate"),
            ("\u{1}\u{2}", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "has no \"-----END\" line"),
            ("-----BEGIN CERTIFICATE\nAAAA\n", "\"-----BEGIN\" line is broken"),
            ("-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n", "not base64"),
            ("0\u{82}", "holds no certificate"),
        ] {
            let text = certificates(pem.as_bytes()).unwrap_err();
            assert!(text.contains(words) && text.contains("; "), "{text}");
        }
        for bytes in [&b"\x30\x82\x01\x00"[..], b"\xff\xfe-\0-\0"] {
            let text = certificates(bytes).unwrap_err();
            assert!(text.starts_with("is ") && text.contains("openssl x509"), "{text}");
            let text = revocation_lists(bytes).unwrap_err();
            assert!(text.starts_with("is ") && text.contains("openssl crl"), "{text}");
        }
    }

    #[test]
    fn what_editors_and_openssl_write_is_read() {
        let mut other_label = "-----BEGIN TRUSTED CERTIFICATE-----\nMAMCAQUwAA==\n".to_owned();
        other_label.push_str("-----END TRUSTED CERTIFICATE-----\n");
        for text in [
            format!("{BEGIN}\nMAMCAQU=\n{END}\n"),
            format!("{BEGIN}\nMAMCAQU=\n{END}"),
            format!("\u{feff}{BEGIN}\nMAMCAQU=\n{END}\n"),
            format!("{BEGIN}\r\nMAMCAQU=\r\n{END}\r\n"),
            format!("{BEGIN} \nMAMC \nAQU= \t\n{END}  \n"),
            format!("text before\n\n{BEGIN}\nMAMCAQU=\n{END}\ntext after"),
            "-----BEGIN X509 CERTIFICATE-----\nMAMCAQU=\n-----END X509 CERTIFICATE-----".to_owned(),
            other_label,
        ] {
            let found = certificates(text.as_bytes());
            assert_eq!(found.unwrap()[0].as_ref(), [0x30, 3, 2, 1, 5], "{text:?}");
        }
    }

    #[test]
    fn the_number_of_certificates_is_bounded() {
        let one = format!("{BEGIN}\nMAMCAQU=\n{END}\n");
        assert_eq!(certificates(one.repeat(MOST).as_bytes()).unwrap().len(), MOST);
        let text = certificates(one.repeat(MOST + 1).as_bytes()).unwrap_err();
        assert!(text.contains("holds over 10000 certificates"), "{text}");
    }
}
