//! Carries out what a verdict means for a Page, an app or a person; each in a transaction of its own, before the message's verdict.

use tracing::{error, warn};

use super::{
    Outgoing,
    consequence::Effect,
    store::{
        self, SealedPage,
        send::{Due, Paused},
    },
};
use crate::{
    channels::meta::graph::Bucket,
    clock::Moment,
    db::bell::Topic,
    ids::{TenantId, WidgetId},
    rooms::events::{self, NewEvent},
    widgets::{
        health::{Check, Health, State},
        store::{StoredWidget, lock_widget, update_health},
    },
};

/// Name of the health check that says whether Facebook lets the Page send.
const SENDING: &str = "sending";

/// Carries out effects. What fails is logged: the next send meets the same refusal and tries again.
pub(super) async fn apply(outgoing: &Outgoing, it: &Due, effects: &[Effect], now: Moment) {
    for effect in effects {
        let done = match effect {
            Effect::Pause { bucket, until } => {
                let who = match (bucket, &it.page) {
                    (Bucket::App, Some(page)) => Paused::App(page.app_owner, page.app),
                    (Bucket::App | Bucket::Page, _) => Paused::Page(it.tenant, it.widget),
                    (Bucket::Person, _) => Paused::Person(it.tenant, it.contact),
                };
                pause(outgoing, who, *until).await
            }
            Effect::Unreachable { error } => store::send::mark_unreachable(&outgoing.db, it, error, now).await,
            Effect::Disconnect { why } => disconnect(outgoing, it, why, now).await,
            Effect::Trouble { why } => set_trouble(outgoing, (it.tenant, it.widget), Some(why), now).await,
            Effect::Recovered => set_trouble(outgoing, (it.tenant, it.widget), None, now).await,
        };
        if let Err(error) = done {
            error!(widget.id = %it.widget, error = %error, "what a send meant for widget {} could not be noted", it.widget);
        }
    }
}

/// Carries out what a call that was no message means for its Page or app; about a person or a token it proves nothing.
pub(super) async fn apply_of_call(
    outgoing: &Outgoing,
    tenant: TenantId,
    page: &SealedPage,
    effects: &[Effect],
    now: Moment,
) {
    for effect in effects {
        let done = match effect {
            Effect::Pause { bucket: Bucket::App, until } => {
                pause(outgoing, Paused::App(page.app_owner, page.app), *until).await
            }
            Effect::Pause { bucket: Bucket::Page, until } => {
                pause(outgoing, Paused::Page(tenant, page.widget), *until).await
            }
            Effect::Trouble { why } => set_trouble(outgoing, (tenant, page.widget), Some(why), now).await,
            Effect::Pause { bucket: Bucket::Person, .. }
            | Effect::Unreachable { .. }
            | Effect::Disconnect { .. }
            | Effect::Recovered => Ok(()),
        };
        if let Err(error) = done {
            error!(widget.id = %page.widget, error = %error, "what a call meant for widget {} could not be noted", page.widget);
        }
    }
}

async fn pause(outgoing: &Outgoing, who: Paused, until: Moment) -> sqlx::Result<()> {
    warn!(who = ?who, until = %until, "calls pause until {until}: {who:?}");
    store::send::mark_paused(&outgoing.db, who, until).await
}

/// The Page's token is dead, if it is still the one that was used: its replies wait for a new one, and people are told.
async fn disconnect(outgoing: &Outgoing, it: &Due, why: &str, now: Moment) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let Some(widget) = lock_widget(&mut tx, it.tenant, it.widget).await? else { return Ok(()) };
    let used = it.page.as_ref().map(|page| page.page_token.as_slice());
    if widget.page_token_is_dead || widget.page_token.as_deref() != used {
        return Ok(());
    }
    warn!(tenant.id = %it.tenant, widget.id = %it.widget, "Page of widget {} is disconnected: its token is refused", it.widget);
    let check = Check { name: "page_token".to_owned(), state: State::Disconnected, detail: why.to_owned(), at: now };
    let health = widget.health.clone().with(check);
    save(outgoing, tx, it.tenant, widget, health, Some(false), now).await
}

/// Shows that Facebook does not let the Page send, or that it does again; nothing if that is known.
async fn set_trouble(
    outgoing: &Outgoing,
    (tenant, widget): (TenantId, WidgetId),
    why: Option<&str>,
    now: Moment,
) -> sqlx::Result<()> {
    let mut tx = crate::db::begin(&outgoing.db).await?;
    let Some(widget) = lock_widget(&mut tx, tenant, widget).await? else { return Ok(()) };
    let known = widget.health.checks.iter().find(|check| check.name == SENDING).map(|check| check.detail.as_str());
    if known == why {
        return Ok(());
    }
    let health = match why {
        Some(why) => {
            warn!(tenant.id = %tenant, widget.id = %widget.id, "Facebook does not let the Page of widget {} send", widget.id);
            let check = Check { name: SENDING.to_owned(), state: State::Attention, detail: why.to_owned(), at: now };
            widget.health.clone().with(check)
        }
        None => {
            let checks = widget.health.checks.iter().filter(|check| check.name != SENDING).cloned();
            Health::of(checks.collect())
        }
    };
    save(outgoing, tx, tenant, widget, health, None, now).await
}

async fn save(
    outgoing: &Outgoing,
    mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
    tenant: TenantId,
    mut widget: StoredWidget,
    health: Health,
    token_accepted: Option<bool>,
    now: Moment,
) -> sqlx::Result<()> {
    update_health(&mut tx, tenant, &widget, &health, token_accepted, None).await?;
    widget.health = health;
    events::append(&mut tx, now, &[NewEvent::widget_health(tenant, &widget.view())]).await?;
    tx.commit().await?;
    outgoing.bell.ring(Topic::Events(tenant));
    Ok(())
}
