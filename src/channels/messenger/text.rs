//! Cuts long texts into messages, and knows the two words agents type instead of pressing a button.

use unicode_segmentation::GraphemeCursor;

use crate::channels::Field;

/// The longest text one message may carry, in UTF-16 units (Meta says 2000 and not of what; this is the strictest reading).
pub const MAX_TEXT_UNITS: usize = 2000;

/// A text as messages of at most [`MAX_TEXT_UNITS`], in order: cut between lines or words, not between the marks of *bold* or `code`
/// where that can be helped, and never inside what is seen as one sign.
#[must_use]
pub fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(limit) = beyond_limit(rest) {
        let cut = border(rest, limit);
        let piece = rest[..cut].trim_end();
        if !piece.trim().is_empty() {
            pieces.push(piece.to_owned());
        }
        rest = rest[cut..].trim_start();
    }
    if !rest.trim().is_empty() || pieces.is_empty() {
        pieces.push(rest.to_owned());
    }
    pieces
}

/// What an agent's text asks the contact for if it is exactly `Email` or `Phone`.
#[must_use]
pub fn keyword(text: &str) -> Option<Field> {
    match text.trim().to_lowercase().as_str() {
        "email" => Some(Field::Email),
        "phone" => Some(Field::Phone),
        _ => None,
    }
}

/// Length in UTF-16 units.
#[must_use]
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Where the first character stands that does not fit, or nothing if all fits.
fn beyond_limit(text: &str) -> Option<usize> {
    let mut units = 0;
    text.char_indices().find_map(|(at, sign)| {
        units += sign.len_utf16();
        (units > MAX_TEXT_UNITS).then_some(at)
    })
}

/// Where to cut a text that is too long: always after its first character and at or before `limit`.
fn border(text: &str, limit: usize) -> usize {
    let formatted = Formatted::of(&text[..limit]);
    let beyond = text[limit..].chars().next().filter(|it| it.is_whitespace()).map(|it| (limit, it));
    let spaces = text[..limit].char_indices().filter(|(_, sign)| sign.is_whitespace()).chain(beyond);
    // Leading white space is no border: nothing would be left before it.
    let first_word = text.len() - text.trim_start().len();
    let borders = spaces.filter(|(at, _)| *at > first_word);
    // A short first message is worse than a long line or a split format.
    let best = borders.max_by_key(|(at, sign)| (*at > limit / 2, !formatted.is_inside(*at), *sign == '\n', *at));
    best.map_or_else(|| sign_border(text, limit), |(at, _)| at)
}

fn sign_border(text: &str, limit: usize) -> usize {
    let mut cursor = GraphemeCursor::new(limit, text.len(), true);
    match cursor.is_boundary(text, 0) {
        Ok(false) => cursor.prev_boundary(text, 0).ok().flatten().filter(|at| *at > 0).unwrap_or(limit),
        _ => limit,
    }
}

/// The stretches between marks that Messenger shows as a format: `*bold*`, `_italic_`, `~struck~`, and code in one or three backticks.
struct Formatted(Vec<std::ops::Range<usize>>);

impl Formatted {
    fn of(text: &str) -> Self {
        let (mut stretches, mut open) = (Vec::new(), None::<(&str, usize)>);
        let (mut at, mut before) = (0, None::<char>);
        while let Some(sign) = text[at..].chars().next() {
            let mark = ["```", "*", "_", "~", "`"].into_iter().find(|mark| text[at..].starts_with(mark));
            let length = mark.map_or(sign.len_utf8(), str::len);
            let after = text[at + length..].chars().next();
            match (open, mark) {
                (Some((opened, from)), Some(mark))
                    if opened == mark && (mark == "```" || before.is_some_and(is_ink)) =>
                {
                    stretches.push(from..at);
                    open = None;
                }
                (None, Some(mark))
                    if mark == "```" || (!before.is_some_and(char::is_alphanumeric) && after.is_some_and(is_ink)) =>
                {
                    open = Some((mark, at));
                }
                // Only code goes over lines.
                (Some((opened, _)), None) if sign == '\n' && opened != "```" => open = None,
                _ => {}
            }
            (at, before) = (at + length, Some(sign));
        }
        // What is still open may well be closed behind the cut.
        stretches.extend(open.map(|(_, from)| from..text.len() + 1));
        Self(stretches)
    }

    fn is_inside(&self, at: usize) -> bool {
        self.0.iter().any(|it| it.contains(&at))
    }
}

fn is_ink(sign: char) -> bool {
    !sign.is_whitespace()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(pieces(text), expected);
    }

    #[test]
    fn long_texts_are_cut_at_word_borders() {
        let (a, b) = ("a".repeat(1999), "b".repeat(1500));
        check("short", &["short"]);
        check(" \n ", &[" \n "]);
        check("", &[""]);
        check(&format!("{a}b"), &[&format!("{a}b")]);
        check(&format!("{a} {b}"), &[&a, &b]);
        check(&format!("{a}c {b}"), &[&format!("{a}c"), &b]);
        check(&format!("{a}cc"), &[&format!("{a}c"), "c"]);
        check(&format!("x {a}cc"), &["x", &format!("{a}c"), "c"]);
        check(&format!("{b}\n\n{b}"), &[&b, &b]);
        check(&format!("x{}y", " ".repeat(5000)), &["x", "y"]);
        check(&format!("{}y", " ".repeat(5000)), &["y"]);
    }

    #[test]
    fn what_is_seen_as_one_sign_stays_together() {
        let (a, family) = ("a".repeat(1998), "👨‍👩‍👧‍👦");
        check(&format!("{a}b😀"), &[&format!("{a}b"), "😀"]);
        check(&format!("{a}😀c"), &[&format!("{a}😀"), "c"]);
        check(&format!("{a}{family}"), &[&a, family]);
        check(&format!("{a}be\u{301}"), &[&format!("{a}b"), "e\u{301}"]);
        check(&format!("{a}👍🏽"), &[&a, "👍🏽"]);
        check(&format!("{a}🇩🇪"), &[&a, "🇩🇪"]);
        check(&"👩‍👩".repeat(1000)[..], &pieces(&"👩‍👩".repeat(1000)).iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn lines_and_formats_stay_together() {
        let (a, b) = ("a".repeat(1100), "b ".repeat(400));
        let b = b.trim_end();
        check(&format!("{a}\n{b} {b}"), &[&a, &format!("{b} {b}")]);
        check(&format!("{a} *{b} {b}* end"), &[&a, &format!("*{b} {b}* end")]);
        check(&format!("{a} ```{b}\n{b}``` end"), &[&a, &format!("```{b}\n{b}``` end")]);
        // A star that is no mark, and one that nothing closes before the line ends.
        assert!(pieces(&format!("{a} 2 * 3 {b} {b}"))[0].len() > 1990);
        check(&format!("{a} *note\n{b} {b}"), &[&format!("{a} *note"), &format!("{b} {b}")]);
        // A format longer than half a message is cut all the same.
        let long = format!("*{b} {b} {b}*");
        assert_eq!(pieces(&long).len(), 2);
    }

    #[test]
    fn only_the_bare_words_are_keywords() {
        assert_eq!(keyword("Email"), Some(Field::Email));
        assert_eq!(keyword(" pHONE\n"), Some(Field::Phone));
        assert_eq!(keyword("e-mail"), None);
        assert_eq!(keyword("Email me"), None);
        assert_eq!(keyword("Phone."), None);
        assert_eq!(keyword(""), None);
    }

    proptest! {
        #[test]
        fn no_piece_is_too_long_or_blank_and_nothing_but_space_is_lost(text in "(\\PC{0,40}[ \n]?){0,90}") {
            let pieces = pieces(&text);
            let bare = |text: &str| text.chars().filter(|sign| !sign.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&pieces.concat()), bare(&text));
            for piece in &pieces {
                prop_assert!(units(piece) <= MAX_TEXT_UNITS);
                prop_assert!(pieces.len() == 1 || !piece.trim().is_empty());
            }
        }
    }
}
