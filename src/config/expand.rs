//! `${VAR}` and `${VAR:-default}`: puts the values of `@SET` and of the environment into a text.
//! Never expands the value of a variable again, and never inserts a NUL byte or invalid UTF-8.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::limits::{MAX_EXPANSIONS, MAX_VALUE, MAX_VARIABLES};
use super::secret;
use crate::base::text::brief;
use crate::base::wiped::{self, Wiped};

/// How deep defaults may be nested.
const MAX_NESTING: usize = 8;

/// Where a variable comes from that no `@SET` sets: `std::env::var_os`, except in tests.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variables that a file can use.
pub(super) struct Variables<'a> {
    environment: Environment<'a>,
    set: HashMap<String, Wiped<String>>,
    /// How many variables may still be expanded.
    left: Cell<usize>,
}

/// A text with its variables expanded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub text: Wiped<String>,
    /// Some variable in it has the name of a secret.
    pub is_secret: bool,
}

/// Why a text could not be expanded, and at which byte of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub offset: usize,
    pub cause: String,
}

impl<'a> Variables<'a> {
    pub fn new(environment: Environment<'a>) -> Self {
        Variables { environment, set: HashMap::new(), left: Cell::new(MAX_EXPANSIONS) }
    }

    /// `@SET name=value`: replaces an earlier `@SET` of that name, and hides the variable of the
    /// environment.
    pub fn set(&mut self, name: &str, value: Wiped<String>) -> Result<(), String> {
        if self.set.len() == MAX_VARIABLES && !self.set.contains_key(name) {
            return Err(format!("more than {MAX_VARIABLES} variables are set; set fewer"));
        }
        self.set.insert(name.to_owned(), value);
        Ok(())
    }

    /// `text` with every variable expanded. A `$` without `{` after it stays as it is.
    pub fn expand(&self, text: &str) -> Result<Expanded, Fault> {
        let mut out = Expanded::default();
        self.expand_into(text, 0, 0, &mut out)?;
        Ok(out)
    }

    fn expand_into(
        &self,
        text: &str,
        start: usize,
        depth: usize,
        out: &mut Expanded,
    ) -> Result<(), Fault> {
        let mut rest = 0;
        while let Some(found) = text[rest..].find("${") {
            let at = rest + found;
            let fault = |cause: String| Err(Fault { offset: start + at, cause });
            wiped::push_str(&mut out.text, &text[rest..at]);
            let Some(left) = self.left.get().checked_sub(1) else {
                return fault(format!(
                    "variables are used more than {MAX_EXPANSIONS} times; use fewer"
                ));
            };
            self.left.set(left);
            let Some(end) = closing_brace(&text[at + 2..]) else {
                return fault("\"${\" has no \"}\"; write ${NAME} or ${NAME:-default}".into());
            };
            let inner = &text[at + 2..at + 2 + end];
            rest = at + 2 + end + 1;
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            if !is_name(name) {
                // Do not show the text, it may be part of a secret; the position is enough.
                return fault(
                    "the text after \"${\" is not the name of a variable; write ${NAME} or \
                     ${NAME:-default}"
                        .into(),
                );
            }
            out.is_secret |= secret::is_secret(name);
            match (self.get(name), default) {
                (Err(cause), _) => return fault(cause),
                (Ok(Some(value)), None) => wiped::push_str(&mut out.text, &value),
                (Ok(Some(value)), Some(_)) if !value.is_empty() => {
                    wiped::push_str(&mut out.text, &value);
                }
                (Ok(_), Some(_)) if depth == MAX_NESTING => {
                    return fault(format!(
                        "defaults are nested more than {MAX_NESTING} deep; nest fewer"
                    ));
                }
                (Ok(_), Some(default)) => {
                    self.expand_into(default, start + at + 2 + name.len() + 2, depth + 1, out)?;
                }
                (Ok(None), None) => {
                    let name = brief(name);
                    return fault(format!(
                        "the variable {name} is not set; set it, or give a default: \
                         ${{{name}:-default}}, or ${{{name}:-}} for an empty value"
                    ));
                }
            }
            if out.text.len() > MAX_VALUE {
                return fault(format!(
                    "with its variables the value is over {MAX_VALUE} bytes; shorten it"
                ));
            }
        }
        wiped::push_str(&mut out.text, &text[rest..]);
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Wiped<String>>, String> {
        if let Some(value) = self.set.get(name) {
            return Ok(Some(value.clone()));
        }
        let Some(value) = (self.environment)(name) else { return Ok(None) };
        let name = brief(name);
        match value.into_string().map(Wiped::new) {
            Ok(value) if value.contains('\0') => {
                Err(format!("the variable {name} holds a NUL byte; set it to plain text"))
            }
            Ok(value) => Ok(Some(value)),
            Err(value) => {
                drop(Wiped::new(value.into_vec()));
                Err(format!("the variable {name} is not valid UTF-8; set it to plain text"))
            }
        }
    }
}

/// Whether all of `text` comes from variables. A default is of the text's own.
pub(super) fn is_all_variables(text: &str) -> bool {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix("${") {
        let Some(end) = closing_brace(inner) else { return false };
        if inner[..end].split_once(":-").is_some_and(|(_, default)| !is_all_variables(default)) {
            return false;
        }
        rest = &inner[end + 1..];
    }
    rest.is_empty()
}

/// The `}` that closes the `${` before `text`. The `}` of a `${}` inside does not count.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a shell or a container runtime could have set a variable of this name.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "A" => Some("a".into()),
            "EMPTY" => Some("".into()),
            "TRICK" => Some("${A}".into()),
            "dotted.name-1" => Some("d".into()),
            "NUL" => Some("x\0y".into()),
            "BROKEN" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        }
    }

    #[test]
    fn expands() {
        let mut variables = Variables::new(&environment);
        variables.set("S", Wiped::new("of @SET".into())).unwrap();
        for (text, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$", "$"),
            ("$A $ $$ }{", "$A $ $$ }{"),
            ("${A}", "a"),
            ("x${A}y${A}z", "xayaz"),
            ("$${A}", "$a"),
            ("${S}", "of @SET"),
            ("${TRICK}", "${A}"),
            ("${dotted.name-1}", "d"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${A:-x}", "a"),
            ("${U:-x}", "x"),
            ("${U:-}", ""),
            ("${U:-a b}", "a b"),
            ("${U:-${A}}", "a"),
            ("${U:-${V:-${A}}}!", "a!"),
            ("${U:-a:-b}", "a:-b"),
            ("${A:-${U}}", "a"),
            ("${U:-{x}}", "{x}"),
            ("${U:-$}", "$"),
        ] {
            let expanded = variables.expand(text).map(|out| out.text.to_string());
            assert_eq!(expanded.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses() {
        let variables = Variables::new(&environment);
        let deep = format!("{}{}", "${U:-".repeat(10), "}".repeat(10));
        for (text, offset, cause) in [
            (
                "ab${U}",
                2,
                "the variable U is not set; set it, or give a default: ${U:-default}, or ${U:-} \
                 for an empty value",
            ),
            (
                "${A}${V:-x${U}}",
                10,
                "the variable U is not set; set it, or give a default: ${U:-default}, or ${U:-} \
                 for an empty value",
            ),
            ("a${A", 1, "\"${\" has no \"}\"; write ${NAME} or ${NAME:-default}"),
            ("${U:-${A}", 0, "\"${\" has no \"}\"; write ${NAME} or ${NAME:-default}"),
            (
                "${}",
                0,
                "the text after \"${\" is not the name of a variable; write ${NAME} or \
                 ${NAME:-default}",
            ),
            (
                "${A:=x}",
                0,
                "the text after \"${\" is not the name of a variable; write ${NAME} or \
                 ${NAME:-default}",
            ),
            (
                "${ A }",
                0,
                "the text after \"${\" is not the name of a variable; write ${NAME} or \
                 ${NAME:-default}",
            ),
            ("${NUL}", 0, "the variable NUL holds a NUL byte; set it to plain text"),
            ("${BROKEN}", 0, "the variable BROKEN is not valid UTF-8; set it to plain text"),
            (deep.as_str(), 40, "defaults are nested more than 8 deep; nest fewer"),
        ] {
            assert_eq!(
                variables.expand(text),
                Err(Fault { offset, cause: cause.into() }),
                "{text}"
            );
        }
    }

    #[test]
    fn growth_is_bounded() {
        let mut variables = Variables::new(&environment);
        variables.set("X", Wiped::new("x".repeat(MAX_VALUE))).unwrap();
        assert_eq!(variables.expand("${X}").map(|out| out.text.len()), Ok(MAX_VALUE));
        let fault = variables.expand("${X}${X}").unwrap_err();
        assert_eq!(fault.cause, "with its variables the value is over 1048576 bytes; shorten it");
    }

    #[test]
    fn what_comes_from_variables_alone() {
        for (text, all, secret) in [
            ("${DB_PASSWORD}", true, true),
            ("${A}${API_KEY:-}", true, true),
            ("${U:-${A}}", true, false),
            ("", true, false),
            ("x${DB_PASSWORD:-y}", false, true),
            ("${U:-x}", false, false),
            ("x", false, false),
            ("$", false, false),
        ] {
            let mut variables = Variables::new(&environment);
            variables.set("DB_PASSWORD", Wiped::new("p".into())).unwrap();
            let expanded = variables.expand(text).unwrap();
            assert_eq!((is_all_variables(text), expanded.is_secret), (all, secret), "{text}");
        }
    }

    #[test]
    fn variables_and_their_uses_are_counted() {
        let mut variables = Variables::new(&environment);
        for number in 0..MAX_VARIABLES {
            variables.set(&number.to_string(), Wiped::default()).unwrap();
        }
        assert_eq!(variables.set("7", Wiped::default()), Ok(()));
        let more = variables.set("more", Wiped::default());
        assert_eq!(more, Err("more than 10000 variables are set; set fewer".into()));

        for _ in 0..MAX_EXPANSIONS / 100 {
            variables.expand(&"${7}".repeat(100)).unwrap();
        }
        assert!(variables.expand("$7").is_ok());
        let fault = variables.expand("${U:-}").unwrap_err();
        assert_eq!(fault.cause, "variables are used more than 1000000 times; use fewer");
    }

    proptest! {
        #[test]
        fn any_text_expands_or_is_refused_inside_itself(text in "([ -~é]|[$][{]|:-|[}]|A){0,40}") {
            match Variables::new(&environment).expand(&text) {
                Ok(Expanded { text: expanded, .. }) => {
                    prop_assert!(*expanded == text || text.contains("${"), "{}", *expanded)
                }
                Err(fault) => prop_assert!(text[fault.offset..].starts_with("${"), "{:?}", fault),
            }
        }

        #[test]
        fn text_around_a_variable_is_kept(
            before in "[ -#%-~é]{0,20}", after in "[ -#%-~é]{0,20}",
        ) {
            let expected = format!("{before}a{after}");
            let text = format!("{before}${{A}}{after}");
            let out = Variables::new(&environment).expand(&text).unwrap();
            prop_assert_eq!(&*out.text, &expected);
        }
    }
}
