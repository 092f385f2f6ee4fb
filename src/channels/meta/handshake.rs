//! Meta's question before it sends webhooks: "is this URL yours?" Answered by repeating the challenge.

use crate::secret::Secret;

/// The challenge to send back as plain text, or nothing if mode or token are not right.
///
/// A callback URL may itself carry `hub.*` keys; Meta appends its own, so the last ones count.
#[must_use]
pub fn answer(query: &str, verify_token: &Secret) -> Option<String> {
    let (mut mode, mut token, mut challenge) = (None, None, None);
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "hub.mode" => mode = Some(value),
            "hub.verify_token" => token = Some(value),
            "hub.challenge" => challenge = Some(value),
            _ => {}
        }
    }
    let is_ours = !verify_token.expose().is_empty() && verify_token.matches(&token?);
    (mode? == "subscribe" && is_ours).then_some(challenge?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<&str>) {
        assert_eq!(answer(query, &Secret::new("open sesame")).as_deref(), expected, "{query}");
    }

    #[test]
    fn the_challenge_is_repeated_for_the_right_token_only() {
        check("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=open%20sesame", Some("1158201444"));
        check("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=open+sesame", Some("1158201444"));
        check("hub.challenge=a%3Cb%3E&x=1&hub.verify_token=open+sesame&hub.mode=subscribe", Some("a<b>"));
        check("hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong", None);
        check("hub.mode=subscribe&hub.challenge=1&hub.verify_token=", None);
        check("hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=open+sesame", None);
        check("hub.challenge=1&hub.verify_token=open+sesame", None);
        check("hub.mode=subscribe&hub.verify_token=open+sesame", None);
        check("hub.mode=subscribe&hub.challenge=1", None);
        check("", None);
        check("%ff%fe&&&===", None);
    }

    #[test]
    fn of_keys_that_come_twice_the_last_counts() {
        let ours = "hub.mode=subscribe&hub.challenge=7&hub.verify_token=open+sesame";
        check(&format!("hub.mode=x&hub.challenge=1&hub.verify_token=wrong&{ours}"), Some("7"));
        check(&format!("{ours}&hub.verify_token=wrong"), None);
    }

    #[test]
    fn an_app_without_a_verify_token_answers_nobody() {
        assert_eq!(answer("hub.mode=subscribe&hub.challenge=1&hub.verify_token=", &Secret::new("")), None);
    }
}
