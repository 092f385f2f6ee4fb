//! Reads JSON text one level at a time, so that one odd value spoils nothing around it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members of one object and elements of one array; Meta sends at most 1000 updates, and more would only fill the memory.
const MOST_PARTS: usize = 20_000;

/// What a NUL or a lone surrogate is replaced with; as long as what it replaces.
const REPLACEMENT: &str = "\\ufffd";

/// The same JSON text without `\u0000` (PostgreSQL cannot keep it) and lone surrogates (not Unicode): U+FFFD instead.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut cleaned: Option<String> = None;
    let mut kept_to = 0;
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += next;
        let Some(unit) = escaped_unit(bytes, at) else {
            // The escaped sign may be a letter of several bytes if this is no JSON; stay on a border.
            at += 1;
            at += usize::from(bytes.get(at).is_some_and(u8::is_ascii));
            continue;
        };
        let is_pair = matches!(unit, 0xD800..=0xDBFF) && matches!(escaped_unit(bytes, at + 6), Some(0xDC00..=0xDFFF));
        if is_pair {
            at += 12;
            continue;
        }
        if matches!(unit, 0 | 0xD800..=0xDFFF) {
            let cleaned = cleaned.get_or_insert_with(|| String::with_capacity(text.len()));
            cleaned.push_str(&text[kept_to..at]);
            cleaned.push_str(REPLACEMENT);
            kept_to = at + 6;
        }
        at += 6;
    }
    match cleaned {
        None => Cow::Borrowed(text),
        Some(mut cleaned) => {
            cleaned.push_str(&text[kept_to..]);
            Cow::Owned(cleaned)
        }
    }
}

/// The UTF-16 unit written as `\u` and four hex digits at `at`, if there is one.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// The members of an object in the order they came, or nothing if the text is no object.
pub(crate) fn members(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::with_capacity(4);
            while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                if members.len() == MOST_PARTS {
                    return Err(serde::de::Error::custom("too many members"));
                }
                members.push((key, value.get()));
            }
            Ok(members)
        }
    }
    read(text, |json| json.deserialize_map(Members))
}

/// The elements of an array, or nothing if the text is no array.
pub(crate) fn elements(text: &str) -> Option<Vec<&str>> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::with_capacity(1);
            while let Some(element) = seq.next_element::<&'de RawValue>()? {
                if elements.len() == MOST_PARTS {
                    return Err(serde::de::Error::custom("too many elements"));
                }
                elements.push(element.get());
            }
            Ok(elements)
        }
    }
    read(text, |json| json.deserialize_seq(Elements))
}

/// The member called `name`; of several the last, `null` counts as absent.
pub(crate) fn member<'a>(members: &[(Cow<'a, str>, &'a str)], name: &str) -> Option<&'a str> {
    members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value).filter(|value| *value != "null")
}

/// A string's text, or a number's digits; ids come as either.
pub(crate) fn word(text: &str) -> Option<String> {
    match text.as_bytes().first()? {
        // Most have nothing escaped in them.
        b'"' => match text.get(1..text.len() - 1).filter(|it| !it.contains('\\')) {
            Some(plain) => Some(plain.to_owned()),
            None => serde_json::from_str(text).ok(),
        },
        b'-' | b'0'..=b'9' => Some(text.to_owned()),
        _ => None,
    }
}

/// Whether a flag is set: `true`, and the ways other writers spell it.
pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "true" | "\"true\"" | "1" | "\"1\"")
}

fn read<'a, T>(
    text: &'a str,
    value: impl FnOnce(&mut serde_json::Deserializer<serde_json::de::StrRead<'a>>) -> serde_json::Result<T>,
) -> Option<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = value(&mut json).ok()?;
    json.end().ok()?;
    Some(value)
}

/// A key, copied only if it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(clean(text), expected);
        assert_eq!(clean(expected), expected, "cleaning twice changes nothing more");
    }

    #[test]
    fn nul_and_lone_surrogates_are_replaced_and_nothing_else() {
        check(r#""plain ä 😀""#, r#""plain ä 😀""#);
        check(r#""\u00e4\/\n\ud83d\ude00""#, r#""\u00e4\/\n\ud83d\ude00""#);
        check(r#""\ud83d""#, r#""\ufffd""#);
        check(r#""\ud83dx\ude00""#, r#""\ufffdx\ufffd""#);
        check(r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#);
        check(r#""\uD83D\u0041""#, r#""\ufffd\u0041""#);
        check(r#""a\u0000b""#, r#""a\ufffdb""#);
        check(r#""a\\u0000b""#, r#""a\\u0000b""#);
        check(r#""a\\\u0000b""#, r#""a\\\ufffdb""#);
        check(r#""\ud8"#, r#""\ud8"#);
        check("\\", "\\");
        check("\\ä\\u00", "\\ä\\u00");
    }
}
