//! The dates of the client certificate. Neither rustls nor webpki checks the client's own
//! certificate, and a server would refuse an expired one at each new connection.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pkcs8::der::DateTime;
use rustls::pki_types::CertificateDer;

use super::x509::{Certificate, name};

/// What is wrong with the dates of the client certificates in `chain` at `now`, with the fix.
pub(super) fn complaint(chain: &[CertificateDer<'_>], now: SystemTime) -> Option<String> {
    // The server judges a certificate that cannot be read here.
    let mut dates =
        chain.iter().enumerate().filter_map(|(at, one)| Some((at, Certificate::read(one).ok()?)));
    dates.find_map(|(at, Certificate { begins, ends, .. })| {
        let which = match at {
            0 => "the certificate".to_owned(),
            _ => format!("certificate {} of the file", at + 1),
        };
        let since = |date: DateTime| now.duration_since(UNIX_EPOCH + date.unix_duration());
        match (since(ends), since(begins)) {
            (Ok(past), _) if !past.is_zero() => Some(format!(
                "{which} expired on {ends} ({} ago), and servers refuse it; renew it",
                age(past.as_secs())
            )),
            (_, Err(ahead)) => Some(format!(
                "{which} is not valid before {begins} ({} from now), and servers refuse it; check \
                 this machine's clock, or use a certificate that is valid",
                age(ahead.duration().max(Duration::from_secs(1)).as_secs())
            )),
            _ => None,
        }
    })
}

/// What is wrong with the dates of a trust root at `now`, with the fix.
pub(super) fn of_root(root: &CertificateDer<'_>, now: SystemTime) -> Option<String> {
    let read = Certificate::read(root).ok()?;
    let past = now.duration_since(UNIX_EPOCH + read.ends.unix_duration()).ok()?;
    Some(format!(
        "the trust root {} expired on {} ({} ago); it is still used, but other libraries refuse \
         what it signed: get the CA's present certificate",
        name(read.subject),
        read.ends,
        age(past.as_secs())
    ))
}

/// Seconds as a person reads them.
pub(super) fn age(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Valid for the whole years from `begins` to `ends`.
    fn certificate(begins: i32, ends: i32) -> CertificateDer<'static> {
        let mut wanted = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(begins, 1, 1);
        wanted.not_after = rcgen::date_time_ymd(ends, 1, 1);
        wanted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// Noon of the first day of a year.
    fn at(year: i32) -> SystemTime {
        let leap_days =
            (1970..year).filter(|year| year % 4 == 0 && year % 100 != 0 || year % 400 == 0);
        UNIX_EPOCH + DAY * ((year - 1970) * 365 + leap_days.count() as i32) as u32 + DAY / 2
    }

    #[test]
    fn dates_are_read_in_both_forms_and_each_has_its_fix() {
        // Years from 2050 stand as GeneralizedTime, earlier ones as UTCTime.
        for (begins, ends) in [(2020, 2030), (2020, 2060), (2051, 2060)] {
            let chain = [certificate(begins, ends)];
            assert_eq!(complaint(&chain, at(begins)), None);
            assert_eq!(complaint(&chain, at(ends) - DAY), None);
            let late = complaint(&chain, at(ends)).unwrap();
            assert_eq!(
                late,
                format!(
                    "the certificate expired on {ends}-01-01T00:00:00Z (12 h ago), and servers \
                     refuse it; renew it"
                )
            );
            let early = complaint(&chain, at(begins) - DAY).unwrap();
            assert!(
                early.contains(&format!(
                    "not valid before {begins}-01-01T00:00:00Z (12 h from now)"
                ))
            );
            assert!(early.contains("check this machine's clock"), "{early}");
        }
    }

    #[test]
    fn every_certificate_of_the_file_is_looked_at_and_garbage_is_passed_over() {
        let chain = [certificate(2020, 2040), certificate(2020, 2030)];
        let text = complaint(&chain, at(2035)).unwrap();
        assert!(text.starts_with("certificate 2 of the file expired on 2030-01-01"), "{text}");
        let whole = certificate(2020, 2030);
        for cut in 0..whole.len() {
            complaint(&[CertificateDer::from(whole[..cut].to_vec())], at(2025));
        }
        assert_eq!(complaint(&[CertificateDer::from(vec![0x30; 300])], at(2025)), None);
    }
}
