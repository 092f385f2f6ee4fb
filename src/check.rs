//! What is wrong with an input, gathered field by field, and the checks that texts from outside share.

use std::{fmt::Display, ops::RangeInclusive};

/// A language as people and Meta write it: `tr`, `tr-TR`, `tr_TR`.
#[must_use]
pub fn locale(name: &str) -> Option<icu_locale_core::Locale> {
    let locale: icu_locale_core::Locale = name.trim().replace('_', "-").parse().ok()?;
    (!locale.id.language.is_unknown()).then_some(locale)
}

/// Longest name of anything, in characters.
pub const MAX_NAME: usize = 200;

/// An input that cannot be used: (JSON pointer, what is wrong there), at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid at {}", .0.first().map_or("", |(pointer, _)| pointer))]
pub struct Invalid(pub Vec<(String, String)>);

impl Invalid {
    /// One wrong field.
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(vec![(pointer.into(), detail.into())])
    }
}

/// Gathers what is wrong.
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    /// One more wrong field.
    pub fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push((pointer.into(), detail.into()));
    }

    /// What a check of a part found, below `prefix`.
    pub fn add_all(&mut self, prefix: &str, found: impl IntoIterator<Item = (String, String)>) {
        self.0.extend(found.into_iter().map(|(pointer, detail)| (format!("{prefix}{pointer}"), detail)));
    }

    /// Trims a name: one line, 1–200 characters.
    pub fn name(&mut self, pointer: &str, text: &mut String) {
        self.line(pointer, text, 1..=MAX_NAME);
    }

    /// Trims a text of one line with that many characters.
    pub fn line(&mut self, pointer: &str, text: &mut String, length: RangeInclusive<usize>) {
        trim(text);
        if text.chars().any(char::is_control) {
            self.add(pointer, "must have no control characters");
        }
        self.range_of(pointer, text.chars().count(), length, "characters");
    }

    /// Trims a text of several lines with that many characters. PostgreSQL refuses NUL, people cannot see the other controls.
    pub fn text(&mut self, pointer: &str, text: &mut String, length: RangeInclusive<usize>) {
        trim(text);
        if text.chars().any(|it| it.is_control() && !"\n\r\t".contains(it)) {
            self.add(pointer, "must have no control characters");
        }
        self.range_of(pointer, text.chars().count(), length, "characters");
    }

    /// A number in its range.
    pub fn range<T: PartialOrd + Display>(&mut self, pointer: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            self.add(pointer, format!("must be {}–{}", range.start(), range.end()));
        }
    }

    /// A count in its range.
    pub fn range_of(&mut self, pointer: &str, count: usize, range: RangeInclusive<usize>, what: &str) {
        if !range.contains(&count) {
            self.add(pointer, format!("must have {}–{} {what}", range.start(), range.end()));
        }
    }

    /// How many there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Nothing wrong, or all of it.
    ///
    /// # Errors
    /// [`Invalid`] with everything that was added.
    pub fn done(self) -> Result<(), Invalid> {
        if self.0.is_empty() { Ok(()) } else { Err(Invalid(self.0)) }
    }
}

fn trim(text: &mut String) {
    let trimmed = text.trim();
    if trimmed.len() != text.len() {
        *text = trimmed.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let (mut faults, mut text) = (Faults::default(), text.to_owned());
        faults.name("/name", &mut text);
        match (faults.done(), expected) {
            (Ok(()), Ok(expected)) => assert_eq!(text, expected),
            (Err(Invalid(found)), Err(part)) => assert!(found[0].1.contains(part), "{found:?}"),
            (got, _) => panic!("{got:?}"),
        }
    }

    #[test]
    fn names_are_trimmed_and_checked() {
        check("  Sales ", Ok("Sales"));
        check(&"ü".repeat(200), Ok(&"ü".repeat(200)));
        check(&"ü".repeat(201), Err("1–200"));
        check("   ", Err("1–200"));
        check("a\0b", Err("control"));
        check("a\nb", Err("control"));
    }
}
