//! Settles sends in doubt that no echo has settled: asks Meta's own list of the conversation whether the message is there. In the
//! background, one question a second and Page (Meta allows two), and only ever a question: nothing is sent from here.

use chrono::TimeDelta;
use tokio::sync::watch;
use tracing::{debug, error, info};

use super::{
    Outgoing,
    calls::{Call, NotNow, UnderWay},
    consequence,
    store::doubts::{self, Doubt},
};
use crate::{
    channels::{
        Content,
        messenger::{
            send::{self, Prompts},
            window::AnswerPath,
        },
        meta::graph::{ListedMessage, Verdict},
    },
    clock::Moment,
    crew::{Crew, Step, Worker},
    db::bell::Topic,
    ids::WidgetId,
    rooms::receipts::{self, Changed},
};

/// Doubts that one step begins to look at, each of another Page.
const MOST_AT_ONCE: i64 = 16;
/// Looks before a doubt is left to people.
const LOOKS: i32 = 4;
/// Pause before the second look; each further one is four times as long.
const FIRST_PAUSE: TimeDelta = TimeDelta::minutes(1);
/// What Meta's list shows at most. A shorter list is the whole conversation.
const LIST_LENGTH: usize = 20;
/// How far Meta's clock and ours may be apart.
const CLOCKS_APART: TimeDelta = TimeDelta::seconds(5);
/// The list leaves out fractions of seconds.
const WHOLE_SECOND: TimeDelta = TimeDelta::milliseconds(999);
/// How late Meta may stamp what we gave up waiting for.
const STAMPED_LATE: TimeDelta = TimeDelta::seconds(60);

/// The worker that asks.
pub struct Doubts {
    outgoing: Outgoing,
    under_way: UnderWay<WidgetId>,
}

impl Doubts {
    /// Asks in the background; `crew` waits for that at its end.
    #[must_use]
    pub fn new(outgoing: Outgoing, crew: Crew) -> Self {
        Self { outgoing, under_way: UnderWay::new(crew, watch::Sender::default()) }
    }

    /// Nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.count() == 0
    }
}

impl Worker for Doubts {
    const NAME: &'static str = "doubts";

    async fn step(&self) -> anyhow::Result<Step> {
        let now = self.outgoing.clock.now();
        doubts::delete_settled(&self.outgoing.db, now).await?;
        let busy = self.under_way.with(1);
        let claimed = doubts::claim_doubts(&self.outgoing.db, now, now + FIRST_PAUSE, &busy, MOST_AT_ONCE).await?;
        for it in claimed {
            match Call::begin(&self.outgoing, it.tenant, &it.page) {
                Ok(call) => {
                    let outgoing = self.outgoing.clone();
                    self.under_way.spawn(it.page.widget, async move {
                        if let Err(error) = look(&outgoing, &it, call).await {
                            error!(message.id = %it.message, error = %format!("{error:#}"), "what became of message {} could not be noted", it.message);
                        }
                    });
                }
                Err(NotNow::Later(at)) => doubts::put_back_doubt(&self.outgoing.db, &it, at).await?,
                Err(NotNow::Seal(error)) => {
                    error!(widget.id = %it.page.widget, error = %error, "the secrets of widget {} cannot be opened", it.page.widget);
                }
            }
        }
        // Idle whatever was done: the poll is the pace that Meta allows.
        Ok(Step::Idle)
    }
}

async fn look(outgoing: &Outgoing, it: &Doubt, call: Call) -> anyhow::Result<()> {
    let found = match ask(outgoing, it, call).await? {
        Ok(found) => found,
        Err(verdict) => {
            debug!(message.id = %it.message, verdict = ?verdict, "whether message {} was sent could not be asked", it.message);
            Found::Unclear
        }
    };
    let now = outgoing.clock.now();
    match found {
        Found::Sent(mid, at) => {
            let mut tx = crate::db::begin(&outgoing.db).await?;
            receipts::settle(&mut tx, it.tenant, it.message, &mid, at, now).await?;
            doubts::delete_doubt(&mut tx, it.tenant, it.message).await?;
            tx.commit().await?;
            info!(message.id = %it.message, "message {} was in doubt and has been sent", it.message);
        }
        Found::Absent => {
            let detail = "The connection broke while the message was being sent, and Facebook does not have it.";
            let error = consequence::error("send-failed", detail, None);
            let mut tx = crate::db::begin(&outgoing.db).await?;
            if doubts::mark_absent(&mut tx, it.tenant, it.message, &error).await? {
                let changed = Changed { message: it.message, room: it.room };
                receipts::announce(&mut tx, it.tenant, &[changed], now).await?;
            }
            doubts::delete_doubt(&mut tx, it.tenant, it.message).await?;
            tx.commit().await?;
            info!(message.id = %it.message, "message {} was in doubt and has not been sent", it.message);
        }
        Found::Unclear if it.attempts + 1 < LOOKS => {
            let pause = FIRST_PAUSE * 4_i32.pow(u32::try_from(it.attempts).unwrap_or(0));
            doubts::mark_look(&outgoing.db, it.tenant, it.message, now + pause).await?;
            return Ok(());
        }
        Found::Unclear => {
            let mut tx = crate::db::begin(&outgoing.db).await?;
            doubts::delete_doubt(&mut tx, it.tenant, it.message).await?;
            tx.commit().await?;
            return Ok(());
        }
    }
    outgoing.bell.ring(Topic::Events(it.tenant));
    Ok(())
}

async fn ask(outgoing: &Outgoing, it: &Doubt, call: Call) -> anyhow::Result<Result<Found, Verdict>> {
    let answered = outgoing.graph.latest_messages(call.access(), &it.page.page_id, &it.sender_id).await;
    let list = match call.end(answered).await {
        Ok(list) => list,
        Err(verdict) => return Ok(Err(verdict)),
    };
    let mids: Vec<_> = list.iter().map(|listed| listed.id.clone()).collect();
    let known = doubts::list_known(&outgoing.db, it.tenant, it.page.widget, &mids).await?;
    let text = text_of(it);
    let between = (it.sent_after - CLOCKS_APART, it.sent_before + STAMPED_LATE);
    Ok(Ok(find(&list, &it.page.page_id, text.as_deref(), between, &known)))
}

/// The text that the message was sent with; none for media and templates.
fn text_of(it: &Doubt) -> Option<String> {
    let content: Content = serde_json::from_value(it.content.clone()).ok()?;
    let body = send::request("", &content, "", AnswerPath::Closed, Prompts { email: "", phone: "" });
    body["message"]["text"].as_str().map(str::to_owned)
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is there, under this id, and was sent no later than then.
    Sent(String, Option<Moment>),
    /// The list reaches far enough back, and it is not there.
    Absent,
    /// There is more than one that it could be, or the list is too short.
    Unclear,
}

/// Looks for a message among the newest of its conversation. Those whose ids are `known` are other messages.
fn find(
    list: &[ListedMessage],
    page_id: &str,
    text: Option<&str>,
    between: (Moment, Moment),
    known: &[String],
) -> Found {
    let says_the_same = |it: &ListedMessage| it.message.trim() == text.unwrap_or_default().trim();
    let is_in_time = |it: &ListedMessage| it.at().is_some_and(|at| between.0 <= at && at <= between.1);
    let mut ours = list.iter().filter(|it| {
        it.from.as_ref().is_some_and(|from| from.id == page_id)
            && !known.contains(&it.id)
            && is_in_time(it)
            && says_the_same(it)
    });
    let reaches_back = list.len() < LIST_LENGTH || list.iter().any(|it| it.at().is_some_and(|at| at < between.0));
    match (ours.next(), ours.next()) {
        // Its time says whole seconds. What is read before is not read for certain, what is read after is.
        (Some(only), None) => Found::Sent(only.id.clone(), only.at().map(|at| at + WHOLE_SECOND)),
        (None, _) if reaches_back => Found::Absent,
        _ => Found::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::meta::graph::Sender;

    fn listed(id: &str, from: &str, second: i64, text: &str) -> ListedMessage {
        let at = Moment::UNIX_EPOCH + TimeDelta::seconds(second);
        ListedMessage {
            id: id.to_owned(),
            created_time: at.format("%Y-%m-%dT%H:%M:%S+0000").to_string(),
            from: Some(Sender { id: from.to_owned() }),
            message: text.to_owned(),
        }
    }

    #[track_caller]
    fn check(list: &[ListedMessage], text: Option<&str>, known: &[&str], expected: Found) {
        let between = (Moment::UNIX_EPOCH + TimeDelta::seconds(100), Moment::UNIX_EPOCH + TimeDelta::seconds(120));
        let known: Vec<_> = known.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(find(list, "page", text, between, &known), expected);
    }

    #[test]
    fn the_list_tells_whether_a_message_was_sent() {
        let sent = || Found::Sent("m_1".to_owned(), Some(Moment::UNIX_EPOCH + TimeDelta::milliseconds(110_999)));
        check(&[listed("m_1", "page", 110, "yes ")], Some("yes"), &[], sent());
        check(&[listed("m_1", "page", 110, "")], None, &[], sent());
        check(&[], Some("yes"), &[], Found::Absent);
        check(&[listed("m_1", "anna", 110, "yes")], Some("yes"), &[], Found::Absent);
        check(&[listed("m_1", "page", 110, "no")], Some("yes"), &[], Found::Absent);
        check(&[listed("m_1", "page", 99, "yes")], Some("yes"), &[], Found::Absent);
        check(&[listed("m_1", "page", 110, "yes")], Some("yes"), &["m_1"], Found::Absent);
        let two = [listed("m_1", "page", 110, "yes"), listed("m_2", "page", 111, "yes")];
        check(&two, Some("yes"), &[], Found::Unclear);
        check(&two, Some("yes"), &["m_2"], sent());
        let full: Vec<_> = (0..20).map(|it| listed(&format!("m_{it}"), "anna", 121 + it, "hm")).collect();
        check(&full, Some("yes"), &[], Found::Unclear);
    }
}
