//! A part of a shared text that is a Rust string and a C string at once: a NUL byte follows it. It
//! never changes, and a clone shares the text instead of copying it. Also the form in which
//! messages reach the host.

use std::borrow::Cow;
#[cfg(test)]
use std::ffi::CStr;
use std::ffi::c_char;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::base::wiped::Wiped;

/// A text without a NUL byte.
#[derive(Clone)]
pub struct Text {
    whole: Arc<Wiped<String>>,
    start: u32,
    end: u32,
}

impl Text {
    /// The `part` that begins at `start` in `whole`. Makes a copy if `part` is not there, or if no
    /// NUL byte follows it.
    pub fn of(whole: &Arc<Wiped<String>>, start: u32, part: &str) -> Text {
        let end = start as usize + part.len();
        let stands_there = whole.get(start as usize..end) == Some(part);
        match u32::try_from(end) {
            Ok(end) if stands_there && whole.as_bytes().get(end as usize) == Some(&0) => {
                Text { whole: Arc::clone(whole), start, end }
            }
            _ => part.into(),
        }
    }

    /// As a Rust string.
    pub fn as_str(&self) -> &str {
        &self.whole[self.start as usize..self.end as usize]
    }

    /// As a C string.
    #[cfg(test)]
    fn as_c_str(&self) -> &CStr {
        let bytes = &self.whole.as_bytes()[self.start as usize..=self.end as usize];
        CStr::from_bytes_with_nul(bytes).unwrap_or_default()
    }

    /// A pointer to the C string. It is valid as long as this text or a clone of it lives.
    pub fn as_ptr(&self) -> *const c_char {
        self.whole.as_bytes()[self.start as usize..].as_ptr().cast()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        let mut whole = String::with_capacity(text.len() + 1);
        whole.push_str(text);
        whole.push('\0');
        // No text here is longer than a value of the file.
        let end = u32::try_from(text.len()).unwrap_or_default();
        Text { whole: Arc::new(Wiped::new(whole)), start: 0, end }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        text.as_str().into()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl std::hash::Hash for Text {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The longest message of an error or of the log, in bytes.
const MESSAGE: usize = 2000;
/// Of a message that is too long, so much of the end is shown: the fix stands there.
const MESSAGE_END: usize = 800;
/// The longest piece of input in a message, such as a path, in bytes.
const PIECE: usize = 200;
const PIECE_END: usize = 120;

/// A message as the host gets it: one line, no control characters, no user and password of a URL,
/// at most [`MESSAGE`] bytes. Every error and every line of the log passes through here.
pub fn message(mut text: String) -> String {
    if text.chars().any(is_odd) {
        text = text.chars().map(|letter| if is_odd(letter) { ' ' } else { letter }).collect();
    }
    let text = without_logins(&text);
    cut(&text, MESSAGE, MESSAGE_END).into_owned()
}

/// A piece of input for a message. Of a long one the middle is left out, so that the message still
/// has room for what is wrong, and for the fix.
pub fn brief(piece: &str) -> Cow<'_, str> {
    match without_login(piece) {
        Cow::Borrowed(piece) => cut(piece, PIECE, PIECE_END),
        Cow::Owned(piece) => cut(&piece, PIECE, PIECE_END).into_owned().into(),
    }
}

/// A path for a message; see [`brief`].
pub fn brief_path(path: &std::path::Path) -> String {
    brief(&path.to_string_lossy()).into_owned()
}

/// Whether a character could break a line of the log or mislead its reader: control characters,
/// separators of lines, and what changes the direction of text or does not show at all.
fn is_odd(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}')
        || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(letter, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` in at most `most` bytes, the last `end` of them from its end.
fn cut(text: &str, most: usize, end: usize) -> Cow<'_, str> {
    const LEFT_OUT: &str = "...";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let head = (0..=most - end - LEFT_OUT.len()).rev().find(|at| text.is_char_boundary(*at));
    let tail = (text.len() - end..=text.len()).find(|at| text.is_char_boundary(*at));
    let (head, tail) = (head.unwrap_or(0), tail.unwrap_or(text.len()));
    format!("{}{LEFT_OUT}{}", &text[..head], &text[tail..]).into()
}

/// What stands for the user and the password of a URL.
const LOGIN: &str = "***";

/// `piece` without the user and the password, if it is a URL that has them. A password may hold a
/// blank or a slash that should have been escaped, so all of it up to the last `@` goes.
pub fn without_login(piece: &str) -> Cow<'_, str> {
    match (piece.find("://"), piece.rfind('@')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}://{LOGIN}{}", &piece[..start], &piece[end..]).into()
        }
        _ => Cow::Borrowed(piece),
    }
}

/// Whether `piece` is a URL with a password.
pub fn has_login(piece: &str) -> bool {
    let login = piece.rsplit_once('@').and_then(|(before, _)| before.split_once("://"));
    login.is_some_and(|(_, login)| login.contains(':'))
}

/// `text` without the users and passwords of the URLs in it. A URL ends at a blank.
pub fn without_logins(text: &str) -> Cow<'_, str> {
    if !text.contains("://") || !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let words = text.split_inclusive(' ').map(without_login);
    words.collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length_and_keeps_its_end() {
        assert_eq!(message("in\norder\u{7f}\u{85}, \u{e4}".to_owned()), "in order  , \u{e4}");
        for odd in ['\0', '\u{1b}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{e0041}'] {
            assert_eq!(message(format!("a{odd}b")), "a b", "{odd:?}");
        }
        for letter in ["x", "\u{e4}", "\u{20ac}", "\u{1f980}"] {
            for more in 0..4 {
                let long = format!("{}{}; fix it", "y".repeat(more), letter.repeat(100_000));
                let text = message(long);
                assert!((MESSAGE - 6..=MESSAGE).contains(&text.len()), "{}", text.len());
                assert!(text.contains("...") && text.ends_with("; fix it"), "{text}");
            }
        }
        assert_eq!(message("x".repeat(MESSAGE)), "x".repeat(MESSAGE));
        assert_eq!(message("x".repeat(MESSAGE + 1)).len(), MESSAGE);
    }

    #[test]
    fn no_message_shows_the_login_of_a_url() {
        for (text, expected) in [
            ("http://u:pw@h:1/x", "http://***@h:1/x"),
            ("a http://u:p/w@h, or https://h2 b", "a http://***@h, or https://h2 b"),
            ("see \"amqp://u:p@ss@h\" and x@y", "see \"amqp://***@h\" and x@y"),
            ("mail x@y, then http://h/", "mail x@y, then http://h/"),
        ] {
            assert_eq!(message(text.to_owned()), expected);
        }
        assert_eq!(brief("http://u:p w@h"), "http://***@h");
        let long = format!("http://u:{}@h/{}", "p".repeat(500), "x".repeat(500));
        assert!(brief(&long).starts_with("http://***@h/x") && brief(&long).len() <= PIECE);
    }

    #[test]
    fn a_part_is_shared_where_it_can_be() {
        let whole = Arc::new(Wiped::new("a\0[::1]\0".to_owned()));
        for (start, part, shared) in
            [(0, "a", true), (2, "[::1]", true), (3, "::1", false), (9, "", false)]
        {
            let text = Text::of(&whole, start, part);
            assert_eq!(text, part);
            assert_eq!(text.as_c_str().to_bytes(), part.as_bytes());
            assert_eq!(text.as_ptr(), text.as_c_str().as_ptr());
            assert_eq!(Arc::ptr_eq(&text.whole, &whole), shared, "{part}");
        }
    }
}
