//! Memory that may hold a secret: a text of the upstream file, a value, a passphrase. It is
//! overwritten when it is given back. A buffer that grows leaves its old copy behind, so these grow
//! by hand.

pub use zeroize::{Zeroize, Zeroizing as Wiped};

/// Adds `more` to a text. If there is no room for it, the text moves, and the old copy is wiped.
pub fn push_str(text: &mut Wiped<String>, more: &str) {
    make_room(text, more.len());
    text.push_str(more);
}

/// Adds `more` and a NUL byte to a text, as [`push_str`].
pub fn push_with_nul(text: &mut Wiped<String>, more: &str) {
    make_room(text, more.len() + 1);
    text.push_str(more);
    text.push('\0');
}

#[inline]
fn make_room(text: &mut Wiped<String>, more: usize) {
    if text.capacity() - text.len() < more {
        let room = (text.len() + more).max(2 * text.capacity());
        let mut larger = Wiped::new(String::with_capacity(room));
        larger.push_str(text);
        *text = larger;
    }
}

/// The text in a block of memory of just its size.
pub fn fitted(text: Wiped<String>) -> Wiped<String> {
    if text.capacity() == text.len() { text } else { Wiped::new(text.as_str().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_grows_by_what_is_added() {
        let (mut text, mut expected) = (Wiped::default(), String::new());
        for more in ["", "a", "\u{20ac}", "bcd", "x".repeat(1000).as_str(), "y"] {
            push_str(&mut text, more);
            expected.push_str(more);
            assert_eq!(*text, expected);
            push_with_nul(&mut text, more);
            expected.extend([more, "\0"]);
            assert_eq!(*text, expected);
        }
        let fitted = fitted(text);
        assert_eq!((fitted.capacity(), &*fitted), (expected.len(), &expected));
    }
}
