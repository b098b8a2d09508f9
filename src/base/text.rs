//! A part of a shared text that is a Rust string and a C string at once: a NUL byte follows it. It
//! never changes, and a clone shares the text instead of copying it. Also the form in which
//! messages reach the host.

#[cfg(test)]
use std::ffi::CStr;
use std::ffi::c_char;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text without a NUL byte.
#[derive(Clone)]
pub struct Text {
    whole: Arc<String>,
    start: u32,
    end: u32,
}

impl Text {
    /// The `part` that begins at `start` in `whole`. Makes a copy if `part` is not there, or if no
    /// NUL byte follows it.
    pub fn of(whole: &Arc<String>, start: u32, part: &str) -> Text {
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
        Text { whole: Arc::new(whole), start: 0, end }
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

/// A message as the host gets it: one line, no control characters, at most [`MESSAGE`] bytes.
pub fn message(mut text: String) -> String {
    const MORE: &str = "...";
    if text.chars().any(char::is_control) {
        text = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    }
    if text.len() > MESSAGE {
        let end = (0..=MESSAGE - MORE.len()).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        assert_eq!(message("in\norder\u{7f}\u{85}, \u{e4}".to_owned()), "in order  , \u{e4}");
        let long = message("\u{20ac}".repeat(5000));
        assert!(long.len() <= MESSAGE && long.len() > MESSAGE - 6 && long.ends_with("\u{20ac}..."));
        assert_eq!(message("x".repeat(MESSAGE)).len(), MESSAGE);
    }

    #[test]
    fn a_part_is_shared_where_it_can_be() {
        let whole = Arc::new("a\0[::1]\0".to_owned());
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
