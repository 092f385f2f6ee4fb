//! Cuts long texts into messages, and knows the two words agents type instead of pressing a button.

use crate::channels::Field;

/// The longest text one message may carry, in UTF-16 units (Meta says 2000 and not of what; this is the strictest reading).
pub const MAX_TEXT_UNITS: usize = 2000;

/// How far back a cut looks for the beginning of what the reader sees as one sign (a family emoji has 7–11 code points).
const LONGEST_SIGN_CHARS: usize = 32;

/// A text as messages of at most [`MAX_TEXT_UNITS`], cut at white space where possible and never inside one sign.
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
    let is_space_at_limit = text[limit..].starts_with(char::is_whitespace);
    let space = text[..limit].rfind(char::is_whitespace);
    match space {
        _ if is_space_at_limit => limit,
        // Leading white space is no border: nothing would be left before it.
        Some(at) if !text[..at].trim().is_empty() => at,
        _ => sign_border(text, limit),
    }
}

fn sign_border(text: &str, limit: usize) -> usize {
    let candidates = text[..limit].char_indices().rev().map(|(at, _)| at).take(LONGEST_SIGN_CHARS);
    std::iter::once(limit).chain(candidates).find(|at| *at > 0 && !is_inside_sign(text, *at)).unwrap_or(limit)
}

/// Whether a cut here would part what is seen as one: letter and accent, parts of an emoji, the two letters of a flag.
fn is_inside_sign(text: &str, at: usize) -> bool {
    const JOINER: char = '\u{200d}';
    let is_flag_letter = |sign: char| matches!(sign, '\u{1f1e6}'..='\u{1f1ff}');
    let Some(next) = text[at..].chars().next() else { return false };
    let before = || text[..at].chars().rev();
    let flag_letters_before = || before().take_while(|sign| is_flag_letter(*sign)).count();
    let is_extending = matches!(next, JOINER | '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5c7}'
        | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}'
        | '\u{e47}'..='\u{e4e}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0020}'..='\u{e007f}');
    is_extending || before().next() == Some(JOINER) || (is_flag_letter(next) && flag_letters_before() % 2 == 1)
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
