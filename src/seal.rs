//! Secrets at rest: XChaCha20-Poly1305, bound to the tenant and the row they belong to.
//!
//! A sealed value copied to another row or tenant does not open. Layout: version byte, 24-byte nonce, ciphertext and tag.

use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use crate::{ids::TenantId, secret::Secret};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;

/// The key that seals every secret of this installation.
#[derive(Clone)]
pub struct SealKey {
    cipher: XChaCha20Poly1305,
    /// Makes keys for other purposes, so that one key is all an operator keeps.
    derive: Hmac<Sha256>,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// Why a key is refused or a sealed value does not open.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key is not 32 bytes in base64.
    #[error("the seal key must be 32 bytes in base64")]
    BadKey,
    /// Another key, another row, or damaged bytes.
    #[error("a sealed secret does not open: another seal key, or damaged bytes")]
    DoesNotOpen,
}

impl SealKey {
    /// Reads a key from its base64 form.
    ///
    /// # Errors
    /// [`SealError::BadKey`] if it is not 32 bytes in base64.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| SealError::BadKey)?;
        let cipher = XChaCha20Poly1305::new_from_slice(&bytes).map_err(|_| SealError::BadKey)?;
        let derive = <Hmac<Sha256> as KeyInit>::new_from_slice(&bytes).map_err(|_| SealError::BadKey)?;
        Ok(Self { cipher, derive })
    }

    /// A key for something else than sealing, named by `purpose`; tells nothing of this one.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac = self.derive.clone();
        mac.update(b"chatgate: ");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// A new random key in the form [`SealKey::parse`] reads.
    #[must_use]
    pub fn generate() -> String {
        STANDARD.encode(crate::secret::random_bytes())
    }

    /// Seals `secret` for `row` of `tenant`; `what` names the column, so that two columns of a row cannot be swapped.
    #[must_use]
    pub fn seal(&self, tenant: TenantId, row: Uuid, what: &str, secret: &Secret) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let aad = bound_to(tenant, row, what);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &aad };
        let sealed =
            self.cipher.encrypt(&XNonce::from(nonce), payload).expect("sealing a short text in memory cannot fail");
        [&[VERSION][..], &nonce, &sealed].concat()
    }

    /// Opens what [`SealKey::seal`] made for the same tenant, row and column.
    ///
    /// # Errors
    /// [`SealError::DoesNotOpen`] for anything else.
    pub fn open(&self, tenant: TenantId, row: Uuid, what: &str, sealed: &[u8]) -> Result<Secret, SealError> {
        let rest = sealed.strip_prefix(&[VERSION]).ok_or(SealError::DoesNotOpen)?;
        let (nonce, text) = rest.split_at_checked(NONCE_BYTES).ok_or(SealError::DoesNotOpen)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::DoesNotOpen)?;
        let aad = bound_to(tenant, row, what);
        let opened = self.cipher.decrypt(&XNonce::from(nonce), Payload { msg: text, aad: &aad });
        let text = String::from_utf8(opened.map_err(|_| SealError::DoesNotOpen)?);
        text.map(Secret::new).map_err(|_| SealError::DoesNotOpen)
    }
}

fn bound_to(tenant: TenantId, row: Uuid, what: &str) -> Vec<u8> {
    [tenant.0.as_bytes(), row.as_bytes(), what.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SealKey {
        SealKey::parse(&SealKey::generate()).unwrap()
    }

    #[test]
    fn opens_only_with_the_same_key_tenant_row_and_column() {
        let (key, tenant, row) = (key(), TenantId(Uuid::from_u128(1)), Uuid::from_u128(2));
        let sealed = key.seal(tenant, row, "token", &Secret::new("swordfish"));
        assert!(!sealed.windows(9).any(|it| it == b"swordfish"));
        assert_eq!(key.open(tenant, row, "token", &sealed).unwrap().expose(), "swordfish");
        assert!(key.open(TenantId(row), row, "token", &sealed).is_err());
        assert!(key.open(tenant, tenant.0, "token", &sealed).is_err());
        assert!(key.open(tenant, row, "secret", &sealed).is_err());
        assert!(super::tests::key().open(tenant, row, "token", &sealed).is_err());
        assert!(key.open(tenant, row, "token", &sealed[..10]).is_err());
    }

    #[test]
    fn keys_for_other_purposes_differ() {
        let key = key();
        assert_eq!(key.derive("links"), key.derive("links"));
        assert_ne!(key.derive("links"), key.derive("cookies"));
        assert_ne!(key.derive("links"), super::tests::key().derive("links"));
    }
}
