//! Reads an answer of the Graph API: what it means for whoever asked.

use serde_json::Value;

use super::{
    codes::{Action, action_after_repeating, action_for},
    verdict::{Bucket, GraphError, Verdict},
};

/// Repetitions of what is said to be temporary.
const TRIES: u32 = 3;

/// Decides what an answer means. Looks at the body whatever the status: errors have come with 200.
#[must_use]
pub fn judge(status: u16, body: &[u8]) -> Verdict {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(error) = answer.get("error").filter(|error| error.is_object()) {
        return judge_error(status, error);
    }
    let silent =
        |message: &str| GraphError { message: message.to_owned(), http_status: Some(status), ..GraphError::default() };
    match (status, answer["message_id"].as_str()) {
        (200..300, Some(mid)) if !mid.is_empty() => Verdict::Sent { mid: mid.to_owned() },
        (200..300, _) => Verdict::MaybeSent { why: silent("the answer names no message") },
        (429, _) => Verdict::BackOff { bucket: Bucket::Page, after: None, why: silent("too many calls") },
        (500.., _) => Verdict::MaybeSent { why: silent("the server failed without saying why") },
        _ => Verdict::Fail { why: silent("refused without saying why") },
    }
}

/// Whether an answer to something other than a message is an error, and which.
#[must_use]
pub fn refusal(status: u16, body: &[u8]) -> Option<Verdict> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_good = (200..300).contains(&status)
        && (answer.is_object() || answer.is_array())
        && answer.get("error").is_none_or(Value::is_null);
    (!is_good).then(|| judge(status, body))
}

fn judge_error(status: u16, error: &Value) -> Verdict {
    let why = GraphError {
        code: number(&error["code"]),
        subcode: number(&error["error_subcode"]),
        message: without_tokens(error["message"].as_str().unwrap_or("no message")),
        fbtrace_id: error["fbtrace_id"].as_str().map(str::to_owned),
        http_status: Some(status),
    };
    let is_transient = matches!(&error["is_transient"], Value::Bool(true)) || error["is_transient"] == "true";
    let action = match action_for(&why) {
        // What would end this message for good must be certain.
        None | Some(Action::Content | Action::Fail) if is_transient => Action::Retry,
        None if status >= 500 => Action::Retry,
        None if status == 429 => Action::BackOff(Bucket::Page),
        None => Action::Fail,
        Some(action) => action,
    };
    verdict(action, why)
}

/// What an error means that was repeated as often as it may be: never that it should be repeated again.
#[must_use]
pub fn judge_repeated(why: GraphError) -> Verdict {
    verdict(action_after_repeating(&why), why)
}

fn verdict(action: Action, why: GraphError) -> Verdict {
    match action {
        Action::Retry => Verdict::Retry { after: None, at_most: Some(TRIES), why },
        Action::RetryOnce => Verdict::Retry { after: None, at_most: Some(1), why },
        Action::BackOff(bucket) => Verdict::BackOff { bucket, after: None, why },
        Action::MaybeSent => Verdict::MaybeSent { why },
        Action::Reauth => Verdict::Reauth { why },
        Action::Window => Verdict::WindowClosed { why },
        Action::Recipient => Verdict::Recipient { why },
        Action::Content => Verdict::Content { why },
        Action::Config => Verdict::Config { why },
        Action::Alert(bucket) => Verdict::Alert { bucket, why },
        Action::Owner => Verdict::NotOwner { why },
        Action::Fail => Verdict::Fail { why },
    }
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Meta repeats a malformed token in its message ("Malformed access token EAAB…"). Its tokens begin with `EAA`, app
/// tokens hold a `|`, and no other word of a message is this long.
fn without_tokens(message: &str) -> String {
    const LONGEST_WORD_CHARS: usize = 60;
    let is_token = |word: &str| word.contains("EAA") || word.contains('|') || word.chars().count() > LONGEST_WORD_CHARS;
    let words = message.split(' ').scan(false, |after_token_word, word| {
        let hide = is_token(word) || (*after_token_word && word.chars().any(|sign| sign.is_ascii_digit()));
        *after_token_word = word.eq_ignore_ascii_case("token") || word.eq_ignore_ascii_case("token:");
        Some(if hide { "…" } else { word })
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        assert_eq!(word(&judge(status, body.as_bytes())), expected, "{status} {body}");
    }

    #[track_caller]
    fn check_code(code: i64, subcode: i64, expected: &str) {
        let mut error = json!({"message": "m", "type": "OAuthException", "code": code, "fbtrace_id": "AbC"});
        if subcode != 0 {
            error["error_subcode"] = json!(subcode);
        }
        check(400, &json!({"error": error}).to_string(), expected);
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Sent { .. } => "sent",
            Verdict::Retry { at_most: Some(1), .. } => "retry once",
            Verdict::Retry { .. } => "retry",
            Verdict::BackOff { bucket: Bucket::App, .. } => "back off app",
            Verdict::BackOff { bucket: Bucket::Person, .. } => "back off person",
            Verdict::BackOff { .. } => "back off",
            Verdict::MaybeSent { .. } => "maybe sent",
            Verdict::Reauth { .. } => "reauth",
            Verdict::WindowClosed { .. } => "window",
            Verdict::Recipient { .. } => "recipient",
            Verdict::Content { .. } => "content",
            Verdict::Config { .. } => "config",
            Verdict::Alert { bucket: Bucket::Person, .. } => "alert person",
            Verdict::Alert { .. } => "alert",
            Verdict::NotOwner { .. } => "owner",
            Verdict::Fail { why } if why.is_no_profile() => "no profile",
            Verdict::Fail { .. } => "fail",
        }
    }

    /// Every row of Meta's documented errors, and of those that others have met.
    #[test]
    fn codes_and_subcodes_say_what_to_do() {
        #[rustfmt::skip]
        let rows = [
            (-1, 0, "retry once"),
            (1, 0, "retry once"),
            (1, 99, "retry once"),
            (1, 1_357_046, "maybe sent"),
            (1, 2_018_382, "content"),
            (1, 1_965_014, "fail"),
            (2, 0, "retry"),
            (2, 2_018_344, "config"),
            (3, 0, "config"),
            (4, 0, "back off app"),
            (4, 2_018_022, "back off"),
            (4, 2_018_354, "fail"),
            (9, 2_018_352, "back off person"),
            (10, 0, "config"),
            (10, 2_018_065, "window"),
            (10, 2_018_278, "window"),
            (10, 2_534_022, "window"),
            (10, 2_018_108, "recipient"),
            (10, 2_018_336, "recipient"),
            (10, 1_893_015, "recipient"),
            (10, 1_893_063, "alert"),
            (10, 1_404_170, "alert"),
            (10, 2_534_077, "config"),
            (10, 2_018_300, "owner"),
            (10, 2_018_028, "config"),
            (2_018_300, 0, "owner"),
            (2_018_321, 0, "retry"),
            (17, 0, "back off"),
            (17, 2_446_079, "back off"),
            (32, 0, "back off"),
            (100, 0, "content"),
            (100, 33, "no profile"),
            (100, 2_018_001, "recipient"),
            (100, 2_018_008, "content"),
            (100, 2_018_047, "content"),
            (100, 2_018_074, "content"),
            (100, 2_018_109, "content"),
            (100, 2_018_294, "content"),
            (100, 2_018_014, "fail"),
            (100, 2_018_034, "fail"),
            (100, 2_018_032, "content"),
            (100, 2_018_164, "config"),
            (100, 2_018_218, "no profile"),
            (100, 2_018_320, "content"),
            (100, 2_018_328, "content"),
            (100, 2_534_037, "owner"),
            (100, 2_534_013, "config"),
            (100, 2_534_014, "recipient"),
            (100, 2_534_015, "content"),
            (100, 2_534_025, "content"),
            (100, 2_534_029, "alert"),
            (102, 0, "reauth"),
            (190, 0, "reauth"),
            (190, 458, "reauth"),
            (190, 459, "reauth"),
            (190, 460, "reauth"),
            (190, 463, "reauth"),
            (190, 464, "reauth"),
            (190, 467, "reauth"),
            (190, 492, "reauth"),
            (190, 2_069_032, "reauth"),
            (200, 0, "config"),
            (200, 1_545_041, "recipient"),
            (200, 2_018_028, "config"),
            (200, 2_018_027, "fail"),
            (200, 2_018_021, "fail"),
            (200, 2_534_041, "config"),
            (230, 0, "config"),
            (283, 0, "config"),
            (341, 0, "back off app"),
            (368, 0, "alert"),
            (551, 0, "recipient"),
            (551, 1_545_041, "recipient"),
            (613, 0, "back off"),
            (613, 1996, "back off"),
            (613, 2_534_040, "back off"),
            (613, 1_893_016, "fail"),
            (613, 2_018_338, "alert person"),
            (803, 0, "fail"),
            (1200, 0, "retry"),
            (1200, 2_018_024, "retry"),
            (2022, 0, "alert"),
            (2_018_218, 0, "no profile"),
            (2_018_247, 0, "no profile"),
            (2_018_234, 0, "config"),
            (2_018_171, 0, "config"),
            (10_303, 0, "fail"),
            (10_903, 0, "fail"),
            (36_000, 0, "content"),
            (80_001, 0, "back off"),
            (80_002, 0, "back off"),
            (80_006, 0, "back off"),
            (80_008, 0, "back off"),
            (9_000_001, 0, "fail"),
            (424_242, 0, "fail"),
        ];
        for (code, subcode, expected) in rows {
            check_code(code, subcode, expected);
        }
    }

    #[test]
    fn status_and_form_decide_where_codes_do_not() {
        check(200, r#"{"recipient_id":"7","message_id":"m_1"}"#, "sent");
        check(200, r#"{"message_id":"m_1"}"#, "sent");
        check(200, r#"{"message_id":""}"#, "maybe sent");
        check(200, "<html>", "maybe sent");
        check(502, "<html>", "maybe sent");
        check(503, "", "maybe sent");
        check(403, "{}", "fail");
        check(302, "", "fail");
        check(429, "", "back off");
        check(200, r#"{"error":{"code":36000,"message":"too large"}}"#, "content");
        check(200, r#"{"message_id":"m_1","error":{"code":190}}"#, "reauth");
        check(400, r#"{"error":{"code":"190","error_subcode":"463"}}"#, "reauth");
        check(400, r#"{"error":{"code":424242,"is_transient":true}}"#, "retry");
        check(400, r#"{"error":{"code":100,"is_transient":true}}"#, "retry");
        check(500, r#"{"error":{"code":424242}}"#, "retry");
        check(429, r#"{"error":{"code":424242}}"#, "back off");
        check(400, r#"{"error":{"message":"(#100) No matching user found","code":100}}"#, "recipient");
        check(400, r#"{"error":{}}"#, "fail");
        check(400, r#"{"error":null}"#, "fail");
    }

    #[test]
    fn tokens_in_messages_are_hidden() {
        let message = |text: &str| {
            let body = json!({"error": {"message": text, "code": 190}}).to_string();
            judge(400, body.as_bytes()).error().expect("an error").message.clone()
        };
        assert_eq!(message("Malformed access token EAABpretend123"), "Malformed access token …");
        assert_eq!(message("Malformed access token pretend123"), "Malformed access token …");
        assert_eq!(message("Bad signature for 500100|pretend"), "Bad signature for …");
        assert_eq!(
            message("Error validating access token: The session expired"),
            "Error validating access token: The session expired"
        );
    }

    #[test]
    fn recorded_answers_are_judged_as_their_notes_say() {
        // What a verdict may be called in the notes; some notes are finer than our verdicts, some coarser.
        let compatible: BTreeMap<&str, &[&str]> = BTreeMap::from([
            ("retry", &["retry", "maybe sent"][..]),
            ("retry_once", &["retry once"]),
            ("maybe_sent", &["maybe sent"]),
            ("back_off", &["back off", "back off app", "back off person"]),
            ("back_off_app", &["back off app"]),
            ("reauth", &["reauth"]),
            ("wrong_token_kind", &["reauth", "config"]),
            ("permission", &["config"]),
            ("app_not_live", &["config"]),
            ("window_closed", &["window"]),
            ("fail", &["fail", "no profile", "content", "maybe sent"]),
            ("fail_recipient", &["recipient"]),
            ("fail_content", &["content"]),
            ("no_profile", &["no profile"]),
            ("not_thread_owner", &["owner"]),
            ("stop_and_alert", &["alert", "alert person"]),
            ("restart_login", &["fail"]),
        ]);
        let mut judged = 0;
        for (name, case) in crate::channels::messenger::walk::shared("graph-responses") {
            let body = case["raw_body"].as_str().map_or_else(|| case["payload"].to_string(), str::to_owned);
            let status = case["http_status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
            let verdict = word(&judge(status, body.as_bytes()));
            match case["action"].as_str() {
                Some(action) => {
                    let allowed = compatible.get(action).copied().unwrap_or_default();
                    assert!(allowed.contains(&verdict), "{name}: {verdict}, should be {action}");
                    assert!(refusal(status, body.as_bytes()).is_some() || status == 200, "{name} is an error");
                }
                None if case["payload"]["message_id"].is_string() => assert_eq!(verdict, "sent", "{name}"),
                None => assert_eq!(refusal(status, body.as_bytes()), None, "{name}"),
            }
            judged += 1;
        }
        println!("{judged} recorded answers judged");
    }
}
