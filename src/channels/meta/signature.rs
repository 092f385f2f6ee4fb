//! HMAC-SHA256 as Meta uses it: over webhook bodies and over access tokens. Nothing is parsed here.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// The body does not carry our app's signature. Deliberately says no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is missing or wrong")]
pub struct BadSignature;

/// Checks `X-Hub-Signature-256` over the bytes exactly as they came; parse only afterwards.
pub fn verify(secret: &Secret, header: Option<&str>, raw_body: &[u8]) -> Result<(), BadSignature> {
    // Anybody can sign with an empty key: an app whose secret is not filled in yet accepts nothing.
    if secret.expose().is_empty() {
        return Err(BadSignature);
    }
    let mut expected = [0; 32];
    let digits = header.and_then(|header| header.strip_prefix("sha256=")).ok_or(BadSignature)?;
    hex::decode_to_slice(digits, &mut expected).map_err(|_| BadSignature)?;
    mac(secret, raw_body).verify_slice(&expected).map_err(|_| BadSignature)
}

/// The header value Meta would send with `body`; for the simulator and for tests.
#[must_use]
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(mac(secret, body).finalize().into_bytes()))
}

/// Proves to the Graph API that the caller of `token` also knows the app's secret.
#[must_use]
pub fn appsecret_proof(secret: &Secret, token: &Secret) -> String {
    hex::encode(mac(secret, token.expose().as_bytes()).finalize().into_bytes())
}

fn mac(secret: &Secret, message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of every length");
    mac.update(message);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    // `printf '%s' '{"object":"page"}' | openssl dgst -sha256 -hmac pretend-secret`
    const BODY: &str = r#"{"object":"page"}"#;
    const DIGITS: &str = "8eddb15e2f4ad250d7fba65ba011b6b2807ff5c720a92d3831a347b4c02c7faa";

    #[track_caller]
    fn check(header: Option<&str>, body: &str, good: bool) {
        let secret = Secret::new("pretend-secret");
        assert_eq!(verify(&secret, header, body.as_bytes()).is_ok(), good);
    }

    #[test]
    fn only_our_own_signature_over_the_same_bytes_is_good() {
        check(Some(&format!("sha256={DIGITS}")), BODY, true);
        check(Some(&format!("sha256={}", DIGITS.to_uppercase())), BODY, true);
        check(Some(&sign(&Secret::new("pretend-secret"), BODY.as_bytes())), BODY, true);
        check(Some(&sign(&Secret::new("pretend-secret"), b"")), "", true);
        check(Some(&format!("sha256={DIGITS}")), r#"{"object": "page"}"#, false);
        check(Some(&sign(&Secret::new("another-secret"), BODY.as_bytes())), BODY, false);
        check(Some(DIGITS), BODY, false);
        check(Some(&format!("sha1={DIGITS}")), BODY, false);
        check(Some(&format!("SHA256={DIGITS}")), BODY, false);
        check(Some(&format!("sha256={DIGITS}00")), BODY, false);
        check(Some(&format!("sha256={}", &DIGITS[2..])), BODY, false);
        check(Some(&format!("sha256={}zz", &DIGITS[2..])), BODY, false);
        check(Some("sha256="), BODY, false);
        check(Some(""), BODY, false);
        check(None, BODY, false);
    }

    #[test]
    fn an_app_without_a_secret_accepts_nothing() {
        let empty = Secret::new("");
        assert_eq!(verify(&empty, Some(&sign(&empty, BODY.as_bytes())), BODY.as_bytes()), Err(BadSignature));
    }

    #[test]
    fn recorded_signatures_are_judged_as_their_notes_say() {
        let Some(vectors) = crate::channels::messenger::walk::shared_file("signatures.json") else { return };
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let list = |name: &str| vectors[name].as_array().cloned().unwrap_or_default();
        for case in list("webhook") {
            let header = case["header_value"].as_str().filter(|_| case["header_name"] == "X-Hub-Signature-256");
            let is_good =
                verify(&Secret::new(text(&case["app_secret"])), header, text(&case["body"]).as_bytes()).is_ok();
            assert_eq!(is_good, case["expect"] == "valid", "{}", case["name"]);
            let legacy = case["header_value"].as_str();
            assert_eq!(
                verify(&Secret::new(text(&case["app_secret"])), legacy, text(&case["body"]).as_bytes()).is_ok(),
                is_good
            );
        }
        for case in list("appsecret_proof") {
            let proof =
                appsecret_proof(&Secret::new(text(&case["app_secret"])), &Secret::new(text(&case["access_token"])));
            assert_eq!(proof, text(&case["appsecret_proof"]));
        }
        println!("{} webhook signatures and {} proofs checked", list("webhook").len(), list("appsecret_proof").len());
    }
}
