//! Carries out what was claimed: asks the Graph API and says what became of it.

use tracing::{error, info, warn};

use super::{
    Outgoing,
    claims::{Going, Job, Shared},
    consequence::{self, Effect, Fate, TOKEN_LOOK},
    effects, files,
    pacing::Ended,
    record::Outcome,
    store::{
        SealedPage,
        send::{Claim, Due},
    },
};
use crate::{
    channels::{
        Content,
        messenger::{
            send::{self, Prompts},
            window::AnswerPath,
        },
        meta::graph::{Access, GraphError, Usage, Verdict},
    },
    clock::Moment,
    rooms::receipts::METADATA_PREFIX,
};

/// Sends, or ends without sending.
pub(super) async fn carry_out(shared: &Shared, job: Job, claimed_at: Moment) -> Outcome {
    let (due, fate) = match job {
        Job::Send(due, path, content, going) => {
            let fate = deliver(shared, &due, path, &content, going).await;
            (due, fate)
        }
        Job::End(due, fate) => (due, fate),
    };
    let claim = Claim { tenant: due.tenant, room: due.room, seq: due.seq, message: due.message, widget: due.widget };
    Outcome { claim, fate, sent_between: (claimed_at, shared.outgoing.clock.now()) }
}

async fn deliver(shared: &Shared, it: &Due, path: AnswerPath, content: &Content, going: Going) -> Fate {
    let outgoing = &shared.outgoing;
    let asked = match &it.page {
        Some(page) => ask(outgoing, it, page, path, content).await,
        None => None,
    };
    let now = outgoing.clock.now();
    let Some((verdict, usage)) = asked else {
        drop(going);
        return Fate::Again { due_at: now + TOKEN_LOOK, counts: false };
    };
    let label = name_of(&verdict);
    metrics::counter!("chatgate_sends_total", "verdict" => label).increment(1);
    if let Some(why) = verdict.error() {
        warn!(message.id = %it.message, verdict = label, error = %why, "message {} was not sent: {label}", it.message);
    }
    let is_sent = matches!(verdict, Verdict::Sent { .. });
    let throttled = going.end(ended(&verdict), usage, now);
    let (fate, mut effects) = consequence::of(verdict, it.attempts + 1, throttled, now, rand::random());
    if is_sent && it.is_in_trouble {
        effects.push(Effect::Recovered);
    }
    effects.extend(consequence::used_up(usage, now));
    effects::apply(outgoing, it, &effects, now).await;
    if let Fate::Again { due_at, .. } = &fate {
        let wait_ms = (*due_at - now).num_milliseconds();
        info!(message.id = %it.message, wait_ms, "message {} is tried again", it.message);
    }
    fate
}

/// Sends; none if it could not even be tried.
async fn ask(
    outgoing: &Outgoing,
    it: &Due,
    page: &SealedPage,
    path: AnswerPath,
    content: &Content,
) -> Option<(Verdict, Usage)> {
    let keys = match outgoing.open(it.tenant, page) {
        Ok(keys) => keys,
        Err(error) => {
            // Nothing has left: with the right seal key it will.
            error!(widget.id = %it.widget, error = %error, "the secrets of widget {} cannot be opened", it.widget);
            return None;
        }
    };
    let metadata = format!("{METADATA_PREFIX}{}", it.message);
    let access = Access { token: &keys.token, app_secret: &keys.app_secret };
    let mut content = content.clone();
    if let Some(verdict) = files::hand_over(outgoing, it, page, access, &mut content).await {
        return Some((verdict, Usage::default()));
    }
    // Questions have their words since they were written.
    let mut body = send::request(&it.sender_id, &content, &metadata, path, Prompts { email: "", phone: "" });
    if let Some(mid) = &it.reply_to {
        body["reply_to"] = serde_json::json!({ "mid": mid });
    }
    let (verdict, usage) = outgoing.graph.send(access, &page.page_id, &body).await;
    Some((files::reconsider(outgoing, it, &content, verdict).await, usage))
}

/// What a verdict says about the way to Facebook.
pub(super) fn ended(verdict: &Verdict) -> Ended {
    let is_silent = |why: &GraphError| why.http_status.is_none_or(|status| status >= 500);
    match verdict {
        Verdict::BackOff { .. } => Ended::Throttled,
        Verdict::Retry { why, .. } | Verdict::MaybeSent { why } if is_silent(why) => Ended::Silent,
        _ => Ended::Answered,
    }
}

fn name_of(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sent { .. } => "sent",
        Verdict::Retry { .. } => "retry",
        Verdict::BackOff { .. } => "back_off",
        Verdict::MaybeSent { .. } => "maybe_sent",
        Verdict::Reauth { .. } => "reauth",
        Verdict::WindowClosed { .. } => "window_closed",
        Verdict::Recipient { .. } => "recipient",
        Verdict::Content { .. } => "content",
        Verdict::Config { .. } => "config",
        Verdict::Alert { .. } => "alert",
        Verdict::NotOwner { .. } => "not_owner",
        Verdict::Fail { .. } => "fail",
    }
}
