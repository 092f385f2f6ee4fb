//! Takes events to the app's callback: signed, one POST each, with Meta's patience and Meta's end of it.

use std::sync::{Arc, Once};
use std::time::Duration;

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::oneshot;

use super::events::Event;
use super::world::World;
use super::{Core, Simulator};
use crate::clock::{Clock, Moment};

/// Meta wants a 200 within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// "Retried immediately a few more times": real pauses, whatever the clock.
const QUICK_PAUSES_MS: [u64; 3] = [20, 60, 180];
/// Then by the clock: the first pause, doubled each time up to the longest.
const FIRST_PAUSE_SECONDS: i64 = 5;
const LONGEST_PAUSE_SECONDS: i64 = 600;
/// After an hour of failures the app is taken off the Page.
const PATIENCE: TimeDelta = TimeDelta::hours(1);
/// How many deliveries are remembered.
const MAX_REMEMBERED: usize = 20_000;

/// One event and how its delivery went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The Page it is about.
    pub page_id: String,
    /// The subscription field: `messages`, `message_echoes`, `messaging_postbacks`…
    pub field: String,
    /// The message it is about, if it is about one.
    pub mid: Option<String>,
    /// How often it was posted.
    pub attempts: u32,
    /// The last answer's status; none when there was no answer in time.
    pub last_status: Option<u16>,
    /// Where it stands.
    pub state: DeliveryState,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Being posted, or between quick retries.
    Underway,
    /// Will be tried again when the clock says so.
    WaitsUntil(Moment),
    /// Answered with 200.
    Done,
    /// Nobody to deliver to any more, or an hour of failures.
    GivenUp,
}

impl Simulator {
    /// Every delivery so far, in order. Events that nobody subscribed to are not among them.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.core.world().deliveries.values().cloned().collect()
    }

    /// Waits until no delivery is underway or due by the clock. One that waits for a later time is not waited for.
    pub async fn settle(&self) {
        while !self.core.stop.is_cancelled() && self.is_busy() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn is_busy(&self) -> bool {
        let now = self.core.clock.now();
        let is_open = |it: &Delivery| match it.state {
            DeliveryState::Underway => true,
            DeliveryState::WaitsUntil(due) => due <= now,
            DeliveryState::Done | DeliveryState::GivenUp => false,
        };
        let world = self.core.world();
        world.backlog > 0 || world.deliveries.values().any(is_open)
    }

    /// Signs any body as Meta would and posts it once to the app's callback; the status, 0 if there was no answer.
    pub async fn deliver_raw(&self, app_id: &str, body: Vec<u8>) -> u16 {
        let target = {
            let mut world = self.core.world();
            let app = world.app_mut(app_id);
            app.callback_url.clone().map(|url| Target { url, secret: app.secret.clone() })
        };
        match target {
            Some(target) => self.core.post(target, body).await.unwrap_or(0),
            None => 0,
        }
    }
}

/// Where an app wants its events, and what signs them.
struct Target {
    url: String,
    secret: String,
}

impl Core {
    /// Delivers an event in the background; the receiver hears when the first attempt is over (at once, with an
    /// error that may be ignored, when nobody is subscribed).
    pub fn deliver(self: &Arc<Self>, event: Event) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let (first, second) = {
            let mut world = self.world();
            if target(&world, &event).is_none() {
                return told;
            }
            let first = enter(&mut world, &event);
            (first, world.options.duplicates.then(|| enter(&mut world, &event)))
        };
        let event = Arc::new(event);
        if let Some(second) = second {
            self.spawn(second, Arc::clone(&event), None);
        }
        self.spawn(first, event, Some(tell));
        told
    }

    /// The same at a later moment of the clock.
    pub fn deliver_at(self: &Arc<Self>, event: Event, due: Moment) {
        let id = {
            let mut world = self.world();
            if target(&world, &event).is_none() {
                return;
            }
            enter(&mut world, &event)
        };
        self.set_state(id, DeliveryState::WaitsUntil(due));
        let core = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = core.stop.cancelled() => return,
                () = wait_until(&core.clock, due) => core.set_state(id, DeliveryState::Underway),
            }
            core.spawn(id, Arc::new(event), None);
        });
    }

    fn spawn(self: &Arc<Self>, id: u64, event: Arc<Event>, tell: Option<oneshot::Sender<()>>) {
        let core = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = core.stop.cancelled() => {}
                () = core.pursue(id, &event, tell) => {}
            }
        });
    }

    async fn pursue(&self, id: u64, event: &Event, mut tell: Option<oneshot::Sender<()>>) {
        let began = self.clock.now();
        let body = event.body(began.timestamp_millis());
        let mut failures = 0;
        loop {
            let Some(target) = target(&self.world(), event) else {
                return self.set_state(id, DeliveryState::GivenUp);
            };
            let status = self.post(target, body.clone()).await;
            let now = self.clock.now();
            let next = next_step(status, failures, began, now);
            self.note(id, status, next);
            if next == Next::Done {
                event.psid.iter().for_each(|psid| self.changed(&event.page_id, psid));
            }
            if let Some(tell) = tell.take() {
                let _ = tell.send(());
            }
            match next {
                Next::Done => return,
                Next::GiveUp => {
                    if let Some(page) = self.world().pages.get_mut(&event.page_id) {
                        page.installed = None;
                    }
                    return;
                }
                Next::After(pause) => tokio::time::sleep(pause).await,
                Next::At(due) => {
                    wait_until(&self.clock, due).await;
                    self.set_state(id, DeliveryState::Underway);
                }
            }
            failures += 1;
        }
    }

    async fn post(&self, target: Target, body: Vec<u8>) -> Option<u16> {
        let request = self
            .http
            .post(&target.url)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", format!("sha256={}", sign(&target.secret, &body)))
            .timeout(ANSWER_WITHIN)
            .body(body);
        let status = request.send().await.ok().map(|answer| answer.status().as_u16());
        tracing::debug!(status, "delivered a webhook");
        status
    }

    fn note(&self, id: u64, status: Option<u16>, next: Next) {
        if let Some(delivery) = self.world().deliveries.get_mut(&id) {
            delivery.attempts += 1;
            delivery.last_status = status;
            delivery.state = match next {
                Next::Done => DeliveryState::Done,
                Next::GiveUp => DeliveryState::GivenUp,
                Next::After(_) => DeliveryState::Underway,
                Next::At(due) => DeliveryState::WaitsUntil(due),
            };
        }
    }

    fn set_state(&self, id: u64, state: DeliveryState) {
        if let Some(delivery) = self.world().deliveries.get_mut(&id) {
            delivery.state = state;
        }
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done,
    After(Duration),
    At(Moment),
    GiveUp,
}

fn next_step(status: Option<u16>, failures_before: usize, began: Moment, now: Moment) -> Next {
    if status == Some(200) {
        return Next::Done;
    }
    if let Some(pause) = QUICK_PAUSES_MS.get(failures_before) {
        return Next::After(Duration::from_millis(*pause));
    }
    if now - began >= PATIENCE {
        return Next::GiveUp;
    }
    let doublings = (failures_before - QUICK_PAUSES_MS.len()).min(16);
    let pause = (FIRST_PAUSE_SECONDS << doublings).min(LONGEST_PAUSE_SECONDS);
    Next::At((now + TimeDelta::seconds(pause)).min(began + PATIENCE))
}

/// The callback of the event's app, if app and Page both want the field.
fn target(world: &World, event: &Event) -> Option<Target> {
    let page = world.page(&event.page_id)?;
    let app = world.apps.get(&page.app_id)?;
    let is_wanted = |fields: &[String]| fields.contains(&event.field);
    if !is_wanted(&app.fields) || !is_wanted(page.installed.as_deref()?) {
        return None;
    }
    Some(Target { url: app.callback_url.clone()?, secret: app.secret.clone() })
}

fn enter(world: &mut World, event: &Event) -> u64 {
    let id = world.next_delivery;
    world.next_delivery += 1;
    let delivery = Delivery {
        page_id: event.page_id.clone(),
        field: event.field.clone(),
        mid: event.mid.clone(),
        attempts: 0,
        last_status: None,
        state: DeliveryState::Underway,
    };
    world.deliveries.insert(id, delivery);
    if world.deliveries.len() > MAX_REMEMBERED {
        world.deliveries.pop_first();
    }
    id
}

/// Sleeps until the clock shows `due`; a manual clock is looked at often, for it moves in jumps.
async fn wait_until(clock: &Clock, due: Moment) {
    loop {
        let Ok(left) = (due - clock.now()).to_std() else { return };
        if left.is_zero() {
            return;
        }
        let nap = match clock {
            Clock::System => left,
            Clock::Manual(_) => Duration::from_millis(5),
        };
        tokio::time::sleep(nap).await;
    }
}

/// Hex of the HMAC-SHA256, for webhook bodies and for `appsecret_proof`.
pub(super) fn sign(secret: &str, message: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(message);
    hex::encode(mac.finalize().into_bytes())
}

/// The client that posts webhooks and does the handshake; follows no redirects, uses no proxy.
pub(super) fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Somebody else may have installed one already; either will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .user_agent("facebookexternalua")
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .expect("a plain client can be built")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: Option<u16>, failures_before: usize, minutes: i64, expected: Next) {
        let began = Moment::from_timestamp(1_780_000_000, 0).unwrap();
        assert_eq!(next_step(status, failures_before, began, began + TimeDelta::minutes(minutes)), expected);
    }

    #[test]
    fn patience_grows_and_ends_after_an_hour() {
        let at = |seconds: i64| Next::At(Moment::from_timestamp(1_780_000_000 + seconds, 0).unwrap());
        check(Some(200), 0, 0, Next::Done);
        check(Some(503), 0, 0, Next::After(Duration::from_millis(20)));
        check(None, 2, 0, Next::After(Duration::from_millis(180)));
        check(Some(503), 3, 0, at(5));
        check(Some(503), 4, 0, at(10));
        check(Some(204), 20, 10, at(1200));
        check(Some(503), 20, 55, at(3600));
        check(Some(503), 21, 60, Next::GiveUp);
    }
}
