//! Finds the known name nearest to an unknown one, for "did you mean". It must stay strict: a
//! plugin's own key is not a misspelling, and a wrong guess is worse than none.

/// The largest limit. A row of the table has `2 * limit + 1` cells that count.
const WIDEST: usize = 9;

/// The edit distance (insertions, deletions, substitutions, swaps of neighbours) from `a` to `b`;
/// `None` if it is above `limit`. The limit is at most [`WIDEST`].
pub fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let limit = limit.min(WIDEST);
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    // Optimal string alignment over three rows. Only cells within `limit` of the diagonal can
    // count: cell `at` of row `i` is column `i + at - limit`. So the time grows with the length,
    // not with its square.
    const FAR: usize = usize::MAX / 2;
    let mut before = [FAR; 2 * WIDEST + 3];
    let mut last = [FAR; 2 * WIDEST + 3];
    for j in 0..=limit.min(b.len()) {
        last[limit + j] = j;
    }
    for i in 1..=a.len() {
        let mut row = [FAR; 2 * WIDEST + 3];
        for at in limit.saturating_sub(i)..=2 * limit {
            let j = i + at - limit;
            if j > b.len() {
                break;
            }
            row[at] = last[at + 1] + 1;
            if j > 0 {
                let step = usize::from(a[i - 1] != b[j - 1]);
                row[at] = row[at].min(last[at] + step);
                if at > 0 {
                    row[at] = row[at].min(row[at - 1] + 1);
                }
            }
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[at] = row[at].min(before[at] + 1);
            }
        }
        if row.iter().min() > Some(&limit) {
            return None;
        }
        (before, last) = (last, row);
    }
    Some(last[limit + b.len() - a.len()]).filter(|&found| found <= limit)
}

/// The candidate nearest to `name` within `limit`; the first if several are equally near.
pub fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Option<&'a str> {
    let measured =
        candidates.into_iter().filter_map(|other| Some((distance(name, other, limit)?, other)));
    measured.min_by_key(|&(distance, _)| distance).map(|(_, other)| other)
}

/// Whether `name` is so near to `known` that it is more likely a misspelling than another word.
///
/// Short words are near to many other words (`hosts`, `cost`, `post`, `sort`). So below six letters
/// only swapped, missing and doubled letters count.
pub fn is_slip(name: &str, known: &str) -> bool {
    let limit = if known.len() >= 8 { 2 } else { 1 };
    let plural = name.strip_suffix('s') == Some(known) && !known.ends_with('s');
    if name == known || name.len() < 3 || plural {
        return false;
    }
    let Some(found) = distance(name, known, limit) else { return false };
    if known.len() >= 6 {
        return true;
    }
    let doubled = |at: usize| name.as_bytes().get(at) == name.as_bytes().get(at + 1);
    found == 1
        && match name.len().cmp(&known.len()) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => sorted(name) == sorted(known),
            std::cmp::Ordering::Greater => (0..known.len()).any(doubled),
        }
}

fn sorted(word: &str) -> Vec<u8> {
    let mut letters = word.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let long = "a".repeat(1024);
        assert_eq!(distance(&long, &long, 1), Some(0));
        assert_eq!(distance(&long, &format!("b{long}"), 1), Some(1));
        assert_eq!(distance(&long, &long.replacen("aa", "bb", 1), 1), None);
        for (a, b, expected) in [
            ("", "", 0),
            ("tls", "tls", 0),
            ("tsl", "tls", 1),
            ("tls.verfiy", "tls.verify", 1),
            ("net.conect_timeout", "net.connect_timeout", 1),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b, 9), Some(expected), "{a} {b}");
            assert_eq!(distance(b, a, 9), Some(expected), "{b} {a}");
            assert_eq!(distance(a, b, expected), Some(expected), "{a} {b}");
            if expected > 0 {
                assert_eq!(distance(a, b, expected - 1), None, "{a} {b}");
            }
        }
    }

    #[test]
    fn slips_and_words() {
        for (name, known) in [
            ("hots", "host"),
            ("prot", "port"),
            ("nmae", "name"),
            ("tsl", "tls"),
            ("tlss", "tls"),
            ("hosst", "host"),
            ("wieght", "weight"),
            ("blance", "balance"),
            ("prioirty", "priority"),
        ] {
            assert!(is_slip(name, known), "{name} {known}");
        }
        for (name, known) in [
            ("hosts", "host"),
            ("ports", "port"),
            ("cost", "host"),
            ("post", "port"),
            ("sort", "port"),
            ("tag", "tls"),
            ("time", "name"),
            ("ts", "tls"),
            ("weights", "weight"),
            ("state", "start"),
            ("smart", "start"),
            ("host", "host"),
        ] {
            assert!(!is_slip(name, known), "{name} {known}");
        }
    }
}
