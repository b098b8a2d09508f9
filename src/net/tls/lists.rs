//! Revocation lists: whether the library can use one, and whether it is out of date.

use std::time::{SystemTime, UNIX_EPOCH};

use pkcs8::der::{Decode, Header, Reader, SliceReader, Tag};
use rustls::pki_types::CertificateRevocationListDer;

use super::dates::age;
use super::x509::{contents, date, name};

/// Whether webpki can use the list.
pub(super) fn check(list: &CertificateRevocationListDer<'_>) -> Result<(), String> {
    let Err(error) = webpki::BorrowedCertRevocationList::from_der(list) else { return Ok(()) };
    let (what, fix) = match error {
        webpki::Error::UnsupportedCrlVersion => (
            "holds a list of version 1",
            "have the CA issue version 2 (in OpenSSL's configuration: crlnumber, or \
             crl_extensions)",
        ),
        webpki::Error::UnsupportedDeltaCrl => ("holds a delta list", "name the complete list"),
        webpki::Error::UnsupportedIndirectCrl => {
            ("holds an indirect list", "name a list that the CA itself signed")
        }
        webpki::Error::UnsupportedRevocationReasonsPartitioning
        | webpki::Error::UnsupportedCrlIssuingDistributionPoint => {
            ("holds a list for only some certificates or reasons", "name the complete list")
        }
        webpki::Error::UnsupportedCriticalExtension => (
            "holds a list with a critical extension that the library does not know",
            "have it issued without that extension",
        ),
        _ => ("holds a list that is broken or that the library does not read", "get it anew"),
    };
    Err(format!("{what}; {fix}"))
}

/// What is wrong with the dates of a list at `now`, with the fix.
pub(super) fn complaint(
    list: &CertificateRevocationListDer<'_>,
    now: SystemTime,
) -> Option<String> {
    let (issuer, next_update) = read(list)?;
    let past = now.duration_since(UNIX_EPOCH + next_update.unix_duration()).ok()?;
    Some(format!(
        "the list of {} ended on {next_update} ({} ago), so connections to servers with a \
         certificate of that CA fail; get the CA's present list",
        name(issuer),
        age(past.as_secs())
    ))
}

/// Issuer and nextUpdate (RFC 5280 section 5.1).
fn read<'a>(
    list: &'a CertificateRevocationListDer<'_>,
) -> Option<(&'a [u8], pkcs8::der::DateTime)> {
    let mut reader = SliceReader::new(list).ok()?;
    Header::decode(&mut reader).ok()?; // CertificateList
    let mut list = contents(&mut reader).ok()?; // TBSCertList
    if Tag::peek(&list).ok()? == Tag::Integer {
        list.tlv_bytes().ok()?; // version
    }
    list.tlv_bytes().ok()?; // signature
    let issuer = list.tlv_bytes().ok()?;
    date(&mut list).ok()?; // thisUpdate
    match Tag::peek(&list).ok()? {
        Tag::UtcTime | Tag::GeneralizedTime => Some((issuer, date(&mut list).ok()?)),
        _ => None,
    }
}
