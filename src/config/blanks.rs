//! Blanks around keys and values, and characters there that nobody sees.

use super::value::is_unseen;

/// What separates keys and values, and is trimmed from them.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// The text without the blanks at its start.
pub(super) fn without_blanks_before(text: &str) -> &str {
    let blanks = text.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

/// The text without the blanks at its end.
pub(super) fn without_blanks_behind(text: &str) -> &str {
    let blanks = text.bytes().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[..text.len() - blanks]
}

/// A value without the blanks and newlines around it: a variable often ends with the newline of the
/// file that it was read from.
pub(super) fn trimmed(value: &str) -> &str {
    let stays = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let bytes = value.as_bytes();
    match (bytes.iter().position(stays), bytes.iter().rposition(stays)) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => "",
    }
}

/// What is wrong with a value that begins or ends with a character that nobody sees: a login would
/// fail, and nobody could see why.
pub(super) fn unseen_around(value: &str) -> Option<String> {
    let plain = |byte: Option<&u8>| byte.is_none_or(|byte| (b'!'..=b'~').contains(byte));
    if plain(value.as_bytes().first()) && plain(value.as_bytes().last()) {
        return None;
    }
    let unseen = |c: Option<char>| c.filter(|&c| is_unseen(c));
    match (unseen(value.chars().next()), unseen(value.chars().next_back())) {
        (Some(odd), _) => Some(("begins", odd)),
        (None, Some(odd)) => Some(("ends", odd)),
        (None, None) => None,
    }
    .map(|(does, odd)| {
        format!("the value {does} with the invisible character {odd:?}; type the line again")
    })
}
