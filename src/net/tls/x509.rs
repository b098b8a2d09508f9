//! What messages say about a certificate, and what webpki does not look at. Only reads: whether a
//! certificate is good, webpki decides. Garbage gives an error or nothing, never a panic.

use pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use pkcs8::der::{DateTime, Decode, Header, Reader, Result, SliceReader, Tag, TagNumber};

/// The parts of a certificate (RFC 5280 section 4.1) that are of interest here.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    /// 1 to 3.
    pub(super) version: u8,
    /// A Name in DER.
    pub(super) issuer: &'a [u8],
    /// notBefore.
    pub(super) begins: DateTime,
    /// notAfter.
    pub(super) ends: DateTime,
    /// A Name in DER.
    pub(super) subject: &'a [u8],
    /// The SubjectPublicKeyInfo in DER.
    key: &'a [u8],
    /// Extensions in DER; empty if there are none.
    extensions: &'a [u8],
}

// The contents of object identifiers in DER.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

/// The shortest RSA key that is accepted, in bits.
pub(super) const RSA_LEAST: usize = 2048;

/// The longest name that a message shows, in bytes.
const NAME_SHOWN: usize = 120;

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a [u8]) -> Result<Certificate<'a>> {
        let mut reader = SliceReader::new(der)?;
        Header::decode(&mut reader)?; // Certificate
        let length = Header::decode(&mut reader)?.length(); // TBSCertificate
        let mut tbs = SliceReader::new(reader.read_slice(length)?)?;
        let marked = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
        let mut version = 1;
        if Tag::peek(&tbs)? == marked {
            version = tbs.tlv_bytes()?.last().map_or(0, |number| number.saturating_add(1));
        }
        for _serial_algorithm in 0..2 {
            tbs.tlv_bytes()?;
        }
        let issuer = tbs.tlv_bytes()?;
        let mut dates = contents(&mut tbs)?;
        let (begins, ends) = (date(&mut dates)?, date(&mut dates)?);
        let (subject, key) = (tbs.tlv_bytes()?, tbs.tlv_bytes()?);
        let mut extensions: &[u8] = &[];
        while !tbs.is_finished() {
            let is_them = Tag::peek(&tbs)?
                == Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
            let mut inner = contents(&mut tbs)?;
            if is_them {
                extensions = inner.tlv_bytes()?;
            }
        }
        Ok(Certificate { version, issuer, begins, ends, subject, key, extensions })
    }

    /// Whether it says that it signed itself.
    pub(super) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The value of an extension.
    fn extension(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut list = contents(&mut SliceReader::new(self.extensions).ok()?).ok()?;
        while let Ok(mut one) = contents(&mut list) {
            if one.tlv_bytes().ok().and_then(value_of)? != wanted {
                continue;
            }
            let mut value = one.tlv_bytes().ok()?;
            if value.first() == Some(&0x01) {
                value = one.tlv_bytes().ok()?; // after the BOOLEAN `critical`
            }
            return value_of(value);
        }
        None
    }

    /// Whether it has a subjectAltName.
    pub(super) fn has_alt_name(&self) -> bool {
        self.extension(SUBJECT_ALT_NAME).is_some()
    }

    /// Whether its extended key usage lets a server use it; true if it has none.
    pub(super) fn is_for_servers(&self) -> bool {
        let Some(usage) = self.extension(EXTENDED_KEY_USAGE) else { return true };
        let list = SliceReader::new(usage).and_then(|mut reader| contents(&mut reader));
        let Ok(mut list) = list else { return false };
        while let Ok(one) = list.tlv_bytes() {
            if matches!(value_of(one), Some(SERVER_AUTH | ANY_USAGE)) {
                return true;
            }
        }
        false
    }

    /// How many bits its key has, if it is one of RSA that is too short.
    pub(super) fn short_rsa(&self) -> Option<usize> {
        let bits = rsa_bits(self.key)?;
        (bits < RSA_LEAST).then_some(bits)
    }

    /// The common name of the subject.
    pub(super) fn common_name(&self) -> Option<String> {
        attribute(self.subject, COMMON_NAME)
    }
}

/// A Name as a person knows it: the common name, else the organization; never more than a line.
pub(super) fn name(der: &[u8]) -> String {
    [COMMON_NAME, ORGANIZATIONAL_UNIT, ORGANIZATION]
        .into_iter()
        .find_map(|wanted| attribute(der, wanted))
        .unwrap_or_else(|| "a name without text".to_owned())
}

fn attribute(name: &[u8], wanted: &[u8]) -> Option<String> {
    let mut sets = contents(&mut SliceReader::new(name).ok()?).ok()?;
    while let Ok(mut set) = contents(&mut sets) {
        while let Ok(mut pair) = contents(&mut set) {
            if pair.tlv_bytes().ok().and_then(value_of)? == wanted {
                return Some(shown(value_of(pair.tlv_bytes().ok()?)?));
            }
        }
    }
    None
}

fn shown(text: &[u8]) -> String {
    let mut shown: String = String::from_utf8_lossy(text)
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(NAME_SHOWN)
        .collect();
    if text.len() > NAME_SHOWN {
        shown.push_str("...");
    }
    shown
}

/// The bits of the modulus in a SubjectPublicKeyInfo of RSA.
fn rsa_bits(key: &[u8]) -> Option<usize> {
    let mut info = contents(&mut SliceReader::new(key).ok()?).ok()?;
    let algorithm = contents(&mut info).ok()?.tlv_bytes().ok().and_then(value_of)?;
    if algorithm != RSA {
        return None;
    }
    let bits = value_of(info.tlv_bytes().ok()?)?;
    modulus_bits(bits.get(1..)?, 0)
}

/// The bits of a modulus that is the INTEGER after `skipped` others of a SEQUENCE.
pub(super) fn modulus_bits(sequence: &[u8], skipped: usize) -> Option<usize> {
    let mut numbers = contents(&mut SliceReader::new(sequence).ok()?).ok()?;
    for _ in 0..skipped {
        numbers.tlv_bytes().ok()?;
    }
    let modulus = value_of(numbers.tlv_bytes().ok()?)?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    Some((modulus.len() - start) * 8 - modulus[start].leading_zeros() as usize)
}

/// What is in the next value, for reading.
pub(super) fn contents<'a>(reader: &mut SliceReader<'a>) -> Result<SliceReader<'a>> {
    let length = Header::decode(reader)?.length();
    SliceReader::new(reader.read_slice(length)?)
}

/// What is in a value.
pub(super) fn value_of(tlv: &[u8]) -> Option<&[u8]> {
    Some(AnyRef::from_der(tlv).ok()?.value())
}

/// A UTCTime or GeneralizedTime.
pub(super) fn date<'a>(reader: &mut impl Reader<'a>) -> Result<DateTime> {
    match Tag::peek(reader)? {
        Tag::UtcTime => Ok(UtcTime::decode(reader)?.to_date_time()),
        _ => Ok(GeneralizedTime::decode(reader)?.to_date_time()),
    }
}
