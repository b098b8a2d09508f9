//! Reads a private key: PKCS#8, PKCS#1 or SEC1 in PEM, plain or encrypted. What a file asks for to
//! decrypt it is bounded before the work begins.

use pkcs8::der::{Reader, SliceReader};
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};

use super::pem::{bad, binary, plain};
use super::x509::{RSA_LEAST, contents, modulus_bits, value_of};
use crate::base::wiped::Wiped;

/// The most rounds of PBKDF2: RFC 8018 section 4.2 calls 10,000,000 appropriate for the most
/// critical keys.
const MOST_ROUNDS: u64 = 10_000_000;

/// The longest salt, in bytes, that the crate which decrypts has room for. OpenSSL makes 8 or 16.
const LONGEST_SALT: usize = 32;

/// The most memory of scrypt, in bytes; OpenSSL reads no more than 32 MiB.
const MOST_SCRYPT_MEMORY: u64 = 64 << 20;

/// The most work of scrypt: N * r * p. OpenSSL's default is 2^17.
const MOST_SCRYPT_WORK: u64 = 1 << 23;

// The contents of object identifiers in DER.
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const SCRYPT: &[u8] = &[0x2b, 6, 1, 4, 1, 0xda, 0x47, 4, 11];

/// What converts a key to a form that is read.
const CONVERT: &str = "convert it with `openssl pkcs8 -topk8 -v2 aes256 -in FILE -out FILE.p8`";

/// The private key in the bytes of a file.
pub(super) fn private_key(
    bytes: &[u8],
    passphrase: Option<&str>,
) -> Result<PrivateKeyDer<'static>, String> {
    let pem = plain(bytes);
    let text = String::from_utf8_lossy(&pem);
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return decrypt(&text, passphrase);
    }
    if text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(
            "is encrypted in OpenSSL's old form, which the library does not read; convert it with \
             `openssl pkcs8 -topk8 -in FILE -out FILE.p8` and set tls.key_passwd"
                .to_owned(),
        );
    }
    if let Some(binary) = binary(bytes) {
        return Err(format!(
            "{binary}; convert it with `openssl pkey -in FILE -out FILE.pem`, or PKCS#12 with \
             `openssl pkcs12 -in FILE -out FILE.pem -noenc`"
        ));
    }
    if passphrase.is_some() {
        return Err(
            "is not encrypted, but tls.key_passwd is set; remove tls.key_passwd, or name the \
             encrypted key"
                .to_owned(),
        );
    }
    if let Some(key) = plain_key(&text) {
        return Ok(key);
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "holds no private key; write it in PEM, in the form PKCS#8, PKCS#1 (RSA) or SEC1 (EC)"
                .to_owned()
        }
        other => bad(&other),
    })
}

/// The key of a file in the usual form, read without leaving a copy of its text in memory. `None`
/// if it is not in that form; another reader then says what is wrong, if anything is.
fn plain_key(text: &str) -> Option<PrivateKeyDer<'static>> {
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let begin = |label: &str| text.find(&format!("-----BEGIN {label}-----"));
    let (start, label) =
        labels.into_iter().filter_map(|label| Some((begin(label)?, label))).min()?;
    let end = format!("-----END {label}-----");
    let length = text[start..].find(&end)? + end.len();
    let (_, key) = SecretDocument::from_pem(&text[start..start + length]).ok()?;
    // rustls wipes what it is given here.
    let key = key.as_bytes().to_vec();
    Some(match label {
        "PRIVATE KEY" => PrivatePkcs8KeyDer::from(key).into(),
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(key).into(),
        _ => PrivateSec1KeyDer::from(key).into(),
    })
}

fn decrypt(pem: &str, passphrase: Option<&str>) -> Result<PrivateKeyDer<'static>, String> {
    let passphrase = passphrase.ok_or("is encrypted; set tls.key_passwd to its passphrase")?;
    let begin = pem.find("-----BEGIN ENCRYPTED").unwrap_or(0);
    // The crate that reads PEM does not know this label.
    let known =
        Wiped::new(pem[begin..].replace(" ENCRYPTED PRIVATE KEY-----", " PRIVATE KEY-----"));
    let document =
        PrivatePkcs8KeyDer::from_pem_slice(known.as_bytes()).map_err(|error| bad(&error))?;
    let document = document.secret_pkcs8_der();
    check(document)?;
    let unread = || format!("is encrypted in a way that the library does not read; {CONVERT}");
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document).map_err(|_| unread())?;
    let wrong = "cannot be decrypted; is tls.key_passwd its passphrase?";
    let plain = encrypted.decrypt(passphrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { .. }) => {
            unread()
        }
        _ => wrong.to_owned(),
    })?;
    // One wrong passphrase of about 256 leaves a padding that looks right.
    if pkcs8::PrivateKeyInfoRef::try_from(plain.as_bytes()).is_err() {
        return Err(wrong.to_owned());
    }
    Ok(PrivatePkcs8KeyDer::from(plain.as_bytes().to_vec()).into())
}

/// Refuses an encryption that is not read, or that asks for more work or memory than is given.
fn check(document: &[u8]) -> Result<(), String> {
    let broken = || "is not an encrypted PKCS#8 key, or is broken; write the file again".to_owned();
    let scheme = SliceReader::new(document)
        .and_then(|mut reader| contents(&mut reader))
        .and_then(|mut key| contents(&mut key))
        .map_err(|_| broken())?;
    let (oid, parameters) = algorithm(scheme).ok_or_else(broken)?;
    if oid != PBES2 {
        return Err(format!(
            "is encrypted with an old scheme (PBES1, or that of PKCS#12), which the library does \
             not read; {CONVERT}"
        ));
    }
    let derivation = SliceReader::new(parameters)
        .and_then(|mut reader| contents(&mut reader))
        .and_then(|mut both| contents(&mut both))
        .map_err(|_| broken())?;
    let (oid, parameters) = algorithm(derivation).ok_or_else(broken)?;
    let mut parameters = SliceReader::new(parameters)
        .and_then(|mut reader| contents(&mut reader))
        .map_err(|_| broken())?;
    let salt = parameters.tlv_bytes().ok().and_then(value_of).ok_or_else(broken)?;
    if salt.len() > LONGEST_SALT {
        return Err(format!(
            "has a salt of {} bytes, and the library takes {LONGEST_SALT} at most; {CONVERT}",
            salt.len()
        ));
    }
    let mut number = || parameters.tlv_bytes().ok().and_then(value_of).map(unsigned);
    if oid == PBKDF2 {
        return rounds_in_bounds(number().ok_or_else(broken)?);
    }
    if oid == SCRYPT {
        let mut next = || number().ok_or_else(broken);
        return scrypt_in_bounds(next()?, next()?, next()?);
    }
    Err(format!(
        "is encrypted with a key derivation other than PBKDF2 and scrypt, which the library does \
         not read; {CONVERT}"
    ))
}

fn rounds_in_bounds(rounds: u64) -> Result<(), String> {
    match rounds {
        0 => Err(format!("wants no round of PBKDF2 to decrypt it, which is not safe; {CONVERT}")),
        1..=MOST_ROUNDS => Ok(()),
        _ => Err(format!(
            "wants {} rounds of PBKDF2 to decrypt it, and the library does {MOST_ROUNDS} at most; \
             encrypt it again with `openssl pkcs8 -topk8 -iter 600000 -in FILE -out FILE.p8`",
            count(rounds)
        )),
    }
}

fn scrypt_in_bounds(n: u64, r: u64, p: u64) -> Result<(), String> {
    let again = "encrypt it again with `openssl pkcs8 -topk8 -scrypt -in FILE -out FILE.p8`";
    let memory = n.saturating_mul(r).saturating_mul(128);
    if memory > MOST_SCRYPT_MEMORY {
        return Err(format!(
            "wants scrypt with N={}, r={} to decrypt it, and the library gives it {} MiB of \
             memory (128 * N * r) at most; {again}",
            count(n),
            count(r),
            MOST_SCRYPT_MEMORY >> 20
        ));
    }
    if n.saturating_mul(r).saturating_mul(p) > MOST_SCRYPT_WORK {
        return Err(format!(
            "wants scrypt with N={}, r={}, p={} to decrypt it, and the library does N * r * p = \
             {MOST_SCRYPT_WORK} at most; {again}",
            count(n),
            count(r),
            count(p)
        ));
    }
    // The crate that decrypts has room for no more than 16 bits of r and p.
    let is_small = |number| (1..=u64::from(u16::MAX)).contains(&number);
    if n < 2 || !n.is_power_of_two() || !is_small(r) || !is_small(p) {
        return Err(format!(
            "wants scrypt with N={n}, r={r}, p={p} to decrypt it, which are not valid together \
             (N is a power of 2; r and p are 1 to 65535); {again}"
        ));
    }
    Ok(())
}

/// The object identifier and the parameters in an AlgorithmIdentifier.
fn algorithm<'a>(mut reader: SliceReader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let oid = value_of(reader.tlv_bytes().ok()?)?;
    Some((oid, reader.tlv_bytes().unwrap_or_default()))
}

/// An INTEGER; what does not fit is the largest number.
fn unsigned(bytes: &[u8]) -> u64 {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    match &bytes[start..] {
        long if long.len() > 8 => u64::MAX,
        short => short.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

fn count(number: u64) -> String {
    if number == u64::MAX { "over 2^63".to_owned() } else { number.to_string() }
}

/// What kind of key the library could not use, with the fix.
pub(super) fn unusable(key: &PrivateKeyDer<'_>) -> String {
    let use_others = "use RSA of 2048 to 8192 bits, ECDSA (P-256, P-384 or P-521) or Ed25519";
    let what = match kind(key) {
        Some(what) => what,
        None => "a key of a kind that the library does not read, or a broken one".to_owned(),
    };
    format!("holds {what}; {use_others}")
}

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

fn kind(key: &PrivateKeyDer<'_>) -> Option<String> {
    let der = key.secret_der();
    if let PrivateKeyDer::Pkcs1(_) = key {
        return rsa(der);
    }
    if let PrivateKeyDer::Sec1(_) = key {
        return Some("an EC key on a curve that the library does not use".to_owned());
    }
    let mut info = contents(&mut SliceReader::new(der).ok()?).ok()?;
    info.tlv_bytes().ok()?; // version
    let (oid, _) = algorithm(contents(&mut info).ok()?)?;
    let what = match oid {
        RSA => return rsa(value_of(info.tlv_bytes().ok()?)?),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => "an RSA key for PSS signatures alone",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1] => {
            "an EC key on a curve that the library does not use"
        }
        [0x2b, 0x65, 0x71] => "an Ed448 key, which the library does not use",
        [0x2b, 0x65, 0x6e | 0x6f] => "a key for key exchange (X25519 or X448), not for signatures",
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => "a DSA key, which TLS no longer uses",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 3, 1] => "a Diffie-Hellman key, not for signatures",
        _ => return None,
    };
    Some(what.to_owned())
}

fn rsa(der: &[u8]) -> Option<String> {
    let bits = modulus_bits(der, 1)?;
    match bits {
        RSA_LEAST..=8192 => None,
        _ => Some(format!("an RSA key of {bits} bits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head = match length {
            0..=127 => vec![tag, length as u8],
            128..=255 => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [head.as_slice(), content].concat()
    }

    fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
        tlv(0x30, &parts.concat())
    }

    fn integer(number: u128) -> Vec<u8> {
        let bytes = number.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        let sign: &[u8] = if bytes[start] >= 0x80 { &[0] } else { &[] };
        tlv(2, &[sign, &bytes[start..]].concat())
    }

    /// An encrypted key whose bytes are derived as `kdf` with these parameters says.
    fn key(kdf: &[u8], parameters: &[Vec<u8>]) -> String {
        let derivation = sequence(&[tlv(6, kdf), sequence(parameters)]);
        let aes = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a];
        let cipher = sequence(&[tlv(6, &aes), tlv(4, &[0; 16])]);
        let scheme = sequence(&[tlv(6, PBES2), sequence(&[derivation, cipher])]);
        let der = sequence(&[scheme, tlv(4, &[0; 64])]);
        let document = pkcs8::Document::try_from(der).unwrap();
        document.to_pem("ENCRYPTED PRIVATE KEY", Default::default()).unwrap()
    }

    #[test]
    fn what_a_key_asks_for_is_bounded_before_the_work() {
        let salt = |length| tlv(4, &vec![b's'; length]);
        let pbkdf2 = |length, rounds| key(PBKDF2, &[salt(length), integer(rounds)]);
        let scrypt = |n, r, p| key(SCRYPT, &[salt(8), integer(n), integer(r), integer(p)]);
        for (pem, words) in [
            (pbkdf2(8, 2000), "is tls.key_passwd its passphrase?"),
            (pbkdf2(8, 0), "wants no round"),
            (pbkdf2(8, 10_000_001), "wants 10000001 rounds of PBKDF2"),
            (pbkdf2(8, 1 << 31), "wants 2147483648 rounds"),
            (pbkdf2(8, 1 << 100), "wants over 2^63 rounds"),
            (pbkdf2(33, 1), "has a salt of 33 bytes"),
            (pbkdf2(4000, 1), "has a salt of 4000 bytes"),
            (scrypt(2, 1, 1), "is tls.key_passwd its passphrase?"),
            (scrypt(1 << 20, 8, 1), "64 MiB of memory"),
            (scrypt(1 << 60, 1 << 60, 1), "64 MiB of memory"),
            (scrypt(1 << 14, 8, 1 << 20), "N * r * p = 8388608 at most"),
            (scrypt(1, 1 << 100, 1), "64 MiB of memory"),
            (scrypt(0, 0, 0), "are not valid together"),
            (scrypt(3, 8, 1), "are not valid together"),
            (scrypt(2, 1 << 16, 1), "are not valid together"),
            (scrypt(2, 1, 1 << 16), "are not valid together"),
            (key(&[0x2a, 3], &[salt(8)]), "a key derivation other than"),
            (key(PBKDF2, &[]), "is broken"),
        ] {
            let begun = std::time::Instant::now();
            let cause = private_key(pem.as_bytes(), Some("secret")).unwrap_err();
            assert!(cause.contains(words), "{cause}");
            assert!(begun.elapsed().as_secs() < 30, "{cause}");
        }
    }

    #[test]
    fn a_key_that_is_cut_anywhere_is_refused_in_a_sentence() {
        let whole = key(PBKDF2, &[tlv(4, b"salt"), integer(2000)]);
        for cut in 0..whole.len() {
            let cause = private_key(&whole.as_bytes()[..cut], Some("secret")).unwrap_err();
            assert!(cause.contains("; ") || cause.contains('?'), "{cause}");
        }
        let pem = whole.lines().collect::<Vec<_>>();
        for line in 1..pem.len() - 1 {
            let mut broken = pem.clone();
            broken.remove(line);
            let _ = private_key(broken.join("\n").as_bytes(), Some("secret")).unwrap_err();
        }
    }
}
