//! The automatic texts of a widget and the placeholders in them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::check::Faults;

/// Longest text, in characters; what is longer than a message is sent as several.
const MAX_TEXT: usize = 2000;
/// Every placeholder that a text may have.
pub const PLACEHOLDERS: [&str; 5] = ["first_name", "name", "display_name", "agent_name", "next_open"];

/// What a widget says by itself. An empty text is not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = WidgetTexts)]
pub struct Texts {
    /// Sent once, when an agent takes the room.
    #[schema(example = "Hello {first_name}, this is {agent_name}.", max_length = 2000)]
    pub opening: String,
    /// Sent when an agent or supervisor closes the room.
    #[schema(example = "Goodbye, {first_name}!", max_length = 2000)]
    pub closing: String,
    /// Sent when the room enters its queue.
    #[schema(max_length = 2000)]
    pub queued: String,
    /// Sent when a message cannot be handled.
    #[schema(max_length = 2000)]
    pub error: String,
    /// Asks for the e-mail address.
    #[schema(example = "May we have your e-mail?", max_length = 2000)]
    pub email_prompt: String,
    /// Asks for the phone number.
    #[schema(example = "May we have your phone number?", max_length = 2000)]
    pub phone_prompt: String,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            opening: String::new(),
            closing: String::new(),
            queued: String::new(),
            error: String::new(),
            email_prompt: "May we have your e-mail?".to_owned(),
            phone_prompt: "May we have your phone number?".to_owned(),
        }
    }
}

impl Texts {
    /// Trims and checks; pointers are below `/texts`.
    pub fn check(&mut self, faults: &mut Faults) {
        let texts = [
            ("/texts/opening", &mut self.opening),
            ("/texts/closing", &mut self.closing),
            ("/texts/queued", &mut self.queued),
            ("/texts/error", &mut self.error),
            ("/texts/email_prompt", &mut self.email_prompt),
            ("/texts/phone_prompt", &mut self.phone_prompt),
        ];
        for (pointer, text) in texts {
            check(faults, pointer, text, &[]);
        }
    }
}

/// Trims and checks an automatic text: its length, and that it has no placeholders but [`PLACEHOLDERS`] and `more`.
pub fn check(faults: &mut Faults, pointer: &str, text: &mut String, more: &[&str]) {
    faults.text(pointer, text, 0..=MAX_TEXT);
    let is_known = |name: &&str| PLACEHOLDERS.contains(name) || more.contains(name);
    if let Some(unknown) = pieces(text).filter_map(Piece::placeholder).find(|it| !is_known(it)) {
        let known: Vec<_> = PLACEHOLDERS.iter().chain(more).map(|it| format!("{{{it}}}")).collect();
        faults.add(pointer, format!("has the unknown placeholder {{{unknown}}}; there are {}", known.join(", ")));
    }
}

/// What stands in a text: words, or a placeholder without its braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Words(&'a str),
    Placeholder(&'a str),
}

impl<'a> Piece<'a> {
    fn placeholder(self) -> Option<&'a str> {
        match self {
            Self::Placeholder(name) => Some(name),
            Self::Words(_) => None,
        }
    }
}

/// Takes a text apart. A brace without its partner is an ordinary character.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut held = None;
    std::iter::from_fn(move || {
        if let Some(name) = held.take() {
            return Some(Piece::Placeholder(name));
        }
        if rest.is_empty() {
            return None;
        }
        let found = rest.find('}').and_then(|end| Some((rest[..end].rfind('{')?, end)));
        // A closing brace alone ends a piece, so that a placeholder after it is found.
        let Some((start, end)) = found else {
            let stop = rest.find('}').map_or(rest.len(), |it| it + 1);
            let (words, after) = rest.split_at(stop);
            rest = after;
            return Some(Piece::Words(words));
        };
        let (words, name) = (&rest[..start], &rest[start + 1..end]);
        rest = &rest[end + 1..];
        if words.is_empty() {
            return Some(Piece::Placeholder(name));
        }
        held = Some(name);
        Some(Piece::Words(words))
    })
}

/// Whether a text has this placeholder.
#[must_use]
pub fn has(text: &str, placeholder: &str) -> bool {
    pieces(text).filter_map(Piece::placeholder).any(|it| it == placeholder)
}

/// Fills the placeholders. `value` is asked for each by its name; what it does not know (a person without a name) leaves nothing,
/// not even the space before it. Values are not looked into: a contact called `{agent_name}` stays so.
#[must_use]
pub fn fill(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Words(words) => filled.push_str(words),
            Piece::Placeholder(name) => match value(name).filter(|it| !it.trim().is_empty()) {
                Some(value) => filled.push_str(value.trim()),
                None => {
                    if filled.ends_with(' ') {
                        filled.pop();
                    }
                }
            },
        }
    }
    filled.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Invalid;

    #[track_caller]
    fn check(text: &str, unknown: Option<&str>) {
        let (mut faults, mut texts) = (Faults::default(), Texts { closing: text.to_owned(), ..Texts::default() });
        texts.check(&mut faults);
        let found = faults.done().err().map(|Invalid(it)| it[0].clone());
        assert_eq!(found.as_ref().map(|it| it.0.as_str()), unknown.map(|_| "/texts/closing"), "{found:?}");
        if let (Some((_, detail)), Some(unknown)) = (found, unknown) {
            assert!(detail.contains(&format!("placeholder {{{unknown}}};")), "{detail}");
        }
    }

    #[test]
    fn unknown_placeholders_are_named() {
        check("", None);
        check("Hello {first_name} of {display_name}{name}, {agent_name} {next_open}", None);
        check("Hello {nickname}", Some("nickname"));
        check("Hello {First_name}", Some("First_name"));
        check("Hello { name }", Some(" name "));
        check("Hello {}", Some(""));
        check("Hello {{name}}", None);
        check("a } b {nickname}", Some("nickname"));
        check("a { b", None);
        check("a } b", None);
        check(":-} {name} :-{", None);
    }

    #[track_caller]
    fn filled(text: &str, name: Option<&str>, expected: &str) {
        let got = fill(text, |it| if it == "name" { name.map(str::to_owned) } else { Some("never".to_owned()) });
        assert_eq!(got, expected);
    }

    #[test]
    fn placeholders_are_filled_once() {
        filled("Hello {name}!", Some("Anna"), "Hello Anna!");
        filled("Hello {name}!", None, "Hello!");
        filled("{name}, hello", None, ", hello");
        filled("Hello {name}!", Some("{agent_name}"), "Hello {agent_name}!");
        filled("{name}{name}", Some("ab"), "abab");
        filled("a } {name} {", Some("b"), "a } b {");
    }
}
