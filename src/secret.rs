//! Secrets in memory: never printed, compared in constant time, hashed or random as needed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret text. `Debug` shows nothing of it; there is no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = "password")]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Equal in constant time (for a given length).
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// For `skip_serializing_if`, with [`hidden`]: what goes in and never comes out, and stands in the document all the same
/// (`skip_serializing` would take it out of there, too).
pub fn never_shown<T>(_: &T) -> bool {
    true
}

/// For `serialize_with`: shows nothing.
///
/// # Errors
/// The serializer's.
pub fn hidden<T, S: serde::Serializer>(_: &T, into: S) -> Result<S::Ok, S::Error> {
    into.serialize_none()
}

/// The SHA-256 of a token: all that is stored of it.
#[must_use]
pub fn fingerprint(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// 32 random bytes from the operating system's generator.
#[must_use]
pub fn random_bytes() -> [u8; 32] {
    rand::random()
}

/// An unguessable text, 256 bits, safe in URLs.
#[must_use]
pub fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}
