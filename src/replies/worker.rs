//! Sends what is on its way. A message is claimed, and the claim committed, before anything leaves; the verdict is a second
//! transaction. So a message whose sender died is found claimed, may have been sent, and becomes uncertain rather than sent twice.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{
    Outgoing,
    store::{self, Claimed},
};
use crate::{
    channels::{
        Content,
        messenger::{
            send::{self, Prompts},
            window::{AnswerPath, answer_path},
        },
        meta::graph::{Access, GraphError, Verdict},
    },
    clock::Moment,
    crew::{Crew, Step, Worker},
    db::bell::Topic,
    ids::{MessageId, RoomId, TenantId},
    rooms::{
        AuthorKind,
        events::{self, NewEvent},
        receipts::{self, Changed, METADATA_PREFIX},
    },
    widgets,
};

/// Sends under way at one time in this process.
const MOST_AT_ONCE: usize = 64;
/// Longer than any send can take: the Graph client gives up after 20 s.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// First wait before another try; it doubles with each.
const FIRST_WAIT_MS: i64 = 1000;
/// Longest wait before another try.
const LONGEST_WAIT_MS: i64 = 60_000;
/// Tries for errors that pass by themselves, where the error table does not say fewer.
const MOST_TRIES: i32 = 8;

/// The worker that sends.
pub struct Sender {
    outgoing: Outgoing,
    crew: Crew,
    free: Arc<Semaphore>,
}

impl Sender {
    /// A sender; sends under way belong to `crew`, which waits for them at its end.
    #[must_use]
    pub fn new(outgoing: Outgoing, crew: Crew) -> Self {
        Self { outgoing, crew, free: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.free.available_permits() == MOST_AT_ONCE
    }
}

impl Worker for Sender {
    const NAME: &'static str = "replies";

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.outgoing.clock.now();
        for (tenant, message, room) in store::list_orphaned(&self.outgoing.db, now).await? {
            warn!(tenant.id = %tenant, message.id = %message, "message {message} was being sent when its sender died: uncertain");
            end(
                &self.outgoing,
                tenant,
                message,
                room,
                "uncertain",
                &problem("send-uncertain", "the sender died while sending", None),
            )
            .await?;
        }
        let free = self.free.available_permits();
        if free == 0 {
            return Ok(Step::Idle);
        }
        let claimed = store::claim_due(&self.outgoing.db, now, now + CLAIM, i64::try_from(free)?).await?;
        if claimed.is_empty() {
            return Ok(Step::Idle);
        }
        for it in claimed {
            let place = Arc::clone(&self.free).acquire_owned().await?;
            let outgoing = self.outgoing.clone();
            self.crew.spawn(async move {
                if let Err(error) = deliver(&outgoing, &it).await {
                    // The claim stays: it becomes uncertain unless the echo settles it.
                    tracing::error!(message.id = %it.message, error = %format!("{error:#}"), "the verdict on message {} is lost", it.message);
                }
                drop(place);
                outgoing.bell.ring(Topic::Outbox);
            });
        }
        Ok(Step::Worked)
    }
}

async fn deliver(outgoing: &Outgoing, it: &Claimed) -> anyhow::Result<()> {
    let now = outgoing.clock.now();
    // The tag for people is for people.
    let path = answer_path(it.opened, it.human_agent && it.author_kind == AuthorKind::Agent, now);
    if path == AnswerPath::Closed {
        let error = problem("window-closed", "the messaging window closed before the message could go out", None);
        return end(outgoing, it.tenant, it.message, it.room, "failed", &error).await;
    }
    let content: Content = match serde_json::from_value(it.content.clone()) {
        Ok(content) => content,
        Err(_) => {
            let error = problem("send-failed", "the message cannot be read any more", None);
            return end(outgoing, it.tenant, it.message, it.room, "failed", &error).await;
        }
    };
    let keys = match outgoing.open(it.tenant, &it.page) {
        Ok(keys) => keys,
        Err(error) => {
            // Nothing has left: with the right seal key it will.
            tracing::error!(widget.id = %it.page.widget, error = %error, "the secrets of widget {} cannot be opened", it.page.widget);
            let why = GraphError { message: error.to_string(), ..GraphError::default() };
            return again(outgoing, it, Some(Duration::from_secs(60)), false, now, &why).await;
        }
    };
    let metadata = format!("{METADATA_PREFIX}{}", it.message);
    // Questions have their words since they were written.
    let body = send::request(&it.sender_id, &content, &metadata, path, Prompts { email: "", phone: "" });
    let access = Access { token: &keys.token, app_secret: &keys.app_secret };
    let verdict = outgoing.graph.send(access, &it.page.page_id, &body).await;
    record(outgoing, it, verdict).await
}

async fn record(outgoing: &Outgoing, it: &Claimed, verdict: Verdict) -> anyhow::Result<()> {
    let now = outgoing.clock.now();
    let label = name_of(&verdict);
    metrics::counter!("chatgate_sends_total", "verdict" => label).increment(1);
    if let Some(why) = verdict.error() {
        warn!(message.id = %it.message, verdict = label, error = %why, "message {} was not sent: {label}", it.message);
    }
    match verdict {
        Verdict::Sent { mid } => {
            let mut tx = outgoing.db.begin().await?;
            receipts::settle(&mut tx, it.tenant, it.message, &mid, None, now).await?;
            // An echo that came first has settled it; then only the outbox row may be left.
            crate::rooms::store::receipts::delete_outbox(&mut tx, it.tenant, it.message).await?;
            tx.commit().await?;
            outgoing.bell.ring(Topic::Events(it.tenant));
            Ok(())
        }
        Verdict::Retry { after, at_most, why }
            if it.attempts < at_most.and_then(|it| i32::try_from(it).ok()).unwrap_or(MOST_TRIES) =>
        {
            again(outgoing, it, after, true, now, &why).await
        }
        Verdict::BackOff { after, why, .. } => {
            again(outgoing, it, after.or(Some(Duration::from_secs(60))), false, now, &why).await
        }
        Verdict::Reauth { why } => disconnect(outgoing, it, &why, now).await,
        Verdict::MaybeSent { why } => {
            let error = problem("send-uncertain", "the connection broke while the message was being sent", Some(&why));
            end(outgoing, it.tenant, it.message, it.room, "uncertain", &error).await
        }
        Verdict::WindowClosed { why } => fail(outgoing, it, "window-closed", &why).await,
        Verdict::Retry { why, .. }
        | Verdict::Recipient { why }
        | Verdict::Content { why }
        | Verdict::Config { why }
        | Verdict::Alert { why, .. }
        | Verdict::NotOwner { why }
        | Verdict::Fail { why } => fail(outgoing, it, "send-failed", &why).await,
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

async fn again(
    outgoing: &Outgoing,
    it: &Claimed,
    after: Option<Duration>,
    counts: bool,
    now: Moment,
    why: &GraphError,
) -> anyhow::Result<()> {
    let wait = next_wait(it.attempts, rand::random::<f64>())
        .max(after.and_then(|it| TimeDelta::from_std(it).ok()).unwrap_or_default());
    info!(message.id = %it.message, wait_ms = wait.num_milliseconds(), error = %why, "message {} is tried again", it.message);
    let mut tx = outgoing.db.begin().await?;
    store::mark_due(&mut tx, it, now + wait, counts).await?;
    tx.commit().await?;
    Ok(())
}

/// The wait before the next try: doubling, with up to a quarter more by chance, so that what failed together does not return together.
fn next_wait(attempts: i32, chance: f64) -> TimeDelta {
    let doublings = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    let base = FIRST_WAIT_MS.saturating_mul(1 << doublings).min(LONGEST_WAIT_MS);
    TimeDelta::milliseconds(base + (base as f64 * chance / 4.0) as i64)
}

/// The Page's token is dead: its replies wait for a new one, and people are told.
async fn disconnect(outgoing: &Outgoing, it: &Claimed, why: &GraphError, now: Moment) -> anyhow::Result<()> {
    let mut tx = outgoing.db.begin().await?;
    store::mark_due(&mut tx, it, now, false).await?;
    let news = store::mark_disconnected(&mut tx, it.tenant, it.page.widget, &why.message, now).await?;
    if news {
        warn!(tenant.id = %it.tenant, widget.id = %it.page.widget, "Page of widget {} is disconnected: its token is refused", it.page.widget);
        if let Some(widget) = widgets::store::lock_widget(&mut tx, it.tenant, it.page.widget).await? {
            events::append(&mut tx, now, &[NewEvent::widget_health(it.tenant, &widget.view())]).await?;
        }
    }
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(it.tenant));
    Ok(())
}

async fn fail(outgoing: &Outgoing, it: &Claimed, slug: &str, why: &GraphError) -> anyhow::Result<()> {
    end(outgoing, it.tenant, it.message, it.room, "failed", &problem(slug, &why.message, Some(why))).await
}

async fn end(
    outgoing: &Outgoing,
    tenant: TenantId,
    message: MessageId,
    room: RoomId,
    status: &str,
    error: &serde_json::Value,
) -> anyhow::Result<()> {
    let now = outgoing.clock.now();
    let mut tx = outgoing.db.begin().await?;
    if store::mark_ended(&mut tx, tenant, message, status, error).await? {
        receipts::announce(&mut tx, tenant, &[Changed { message, room }], now).await?;
    }
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(tenant));
    Ok(())
}

/// The `error` of a message.
fn problem(slug: &str, detail: &str, why: Option<&GraphError>) -> serde_json::Value {
    json!({
        "type": format!("/problems/{slug}"),
        "detail": detail,
        "meta_code": why.and_then(|it| it.code),
        "meta_subcode": why.and_then(|it| it.subcode),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        for (attempts, chance, expected_ms) in
            [(1, 0.0, 1000), (2, 0.0, 2000), (4, 0.0, 8000), (4, 1.0, 10_000), (9, 0.0, 60_000), (500, 0.0, 60_000)]
        {
            assert_eq!(next_wait(attempts, chance), TimeDelta::milliseconds(expected_ms), "{attempts}");
        }
    }
}
