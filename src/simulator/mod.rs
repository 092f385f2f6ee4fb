//! A pretend Messenger: a Graph API with a memory, signed webhooks with Meta's retries, and a small page to type on.
//!
//! `chatgate simulate`, `chatgate demo` and the test suite use the same one. It knows nothing of the gateway beyond
//! what Meta would know: a callback URL, a verify token, an app secret. Deliberately absent: login dialogs, personas,
//! conversation routing and rate limits that bite by themselves (the headers are there, and scripted throttles).

mod afterwards;
mod chats;
mod delivery;
mod events;
mod faults;
mod files;
mod graph;
mod people;
mod send;
mod subscriptions;
#[cfg(test)]
mod tests;
mod web;
mod wire;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;

pub use delivery::{Delivery, DeliveryState};
pub use faults::Fault;
pub use files::{Strange, Upload};
pub use world::{QuickReply, SentMessage};

use world::{App, Page, Person, World};

/// A pretend Messenger. Clones share one world; when the last is gone, deliveries still being retried stop.
#[derive(Clone)]
pub struct Simulator {
    core: Arc<Core>,
    /// Background tasks hold `core` only, so that they cannot keep this guard, and with it themselves, alive.
    _alive: Arc<DropGuard>,
}

/// What the handlers and the background tasks share.
struct Core {
    clock: Clock,
    world: Mutex<World>,
    /// Says which chat (Page, person) looks different now.
    changes: broadcast::Sender<(String, String)>,
    /// Rings when a Page that hung answers again.
    answers_again: tokio::sync::Notify,
    http: reqwest::Client,
    stop: CancellationToken,
}

impl Core {
    /// The world, locked; never held across an await.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells open chat pages to look again.
    fn changed(&self, page_id: &str, psid: &str) {
        // Nobody listening is the usual case.
        let _ = self.changes.send((page_id.to_owned(), psid.to_owned()));
    }
}

impl Simulator {
    /// An empty world that lives by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let stop = CancellationToken::new();
        let guard = Arc::new(stop.clone().drop_guard());
        let core = Core {
            clock,
            world: Mutex::new(World::default()),
            changes: broadcast::channel(256).0,
            answers_again: tokio::sync::Notify::new(),
            http: delivery::client(),
            stop,
        };
        Self { core: Arc::new(core), _alive: guard }
    }

    /// The Graph API and the chat page, to be served on a listener of their own. Scripted connection losses look
    /// most real under [`Simulator::serve`].
    pub fn router(&self) -> axum::Router {
        web::router().fallback(graph::answer).with_state(self.clone())
    }

    /// Serves [`Simulator::router`] until `stop`; open chat streams, hanging sends and retries end with it.
    pub async fn serve(&self, listener: tokio::net::TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let app = self.router().into_make_service_with_connect_info::<wire::Wire>();
        let own = self.core.stop.clone();
        axum::serve(wire::WireListener(listener), app)
            .with_graceful_shutdown(async move {
                tokio::select! {
                    () = stop.cancelled() => own.cancel(),
                    () = own.cancelled() => {}
                }
            })
            .await
    }

    /// Registers an app and the secret that signs its webhooks.
    pub fn add_app(&self, app_id: &str, app_secret: &str) {
        let app = App { secret: app_secret.to_owned(), ..App::default() };
        self.core.world().apps.insert(app_id.to_owned(), app);
    }

    /// Registers a Page with its token. It starts with the app installed for every field; see
    /// [`Simulator::uninstall`] for a Page that nobody has subscribed yet.
    pub fn add_page(&self, app_id: &str, page_id: &str, name: &str, token: &str) {
        let page = Page {
            app_id: app_id.to_owned(),
            name: name.to_owned(),
            token: token.to_owned(),
            installed: Some(subscriptions::all_fields()),
            ..Page::default()
        };
        self.core.world().pages.insert(page_id.to_owned(), page);
    }

    /// Registers a person under the id that this Page knows them by. Until they act, their window is closed.
    pub fn add_person(
        &self,
        page_id: &str,
        psid: &str,
        first_name: &str,
        last_name: &str,
        email: Option<&str>,
        phone: Option<&str>,
    ) {
        let person = Person {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            email: email.map(str::to_owned),
            phone: phone.map(str::to_owned),
            ..Person::default()
        };
        self.core.world().page_mut(page_id).people.insert(psid.to_owned(), person);
    }

    /// Sets an app's callback without the handshake that `POST /{app-id}/subscriptions` does, for every field.
    pub fn set_callback(&self, app_id: &str, callback_url: &str) {
        let mut world = self.core.world();
        let app = world.app_mut(app_id);
        app.callback_url = Some(callback_url.to_owned());
        app.fields = subscriptions::all_fields();
    }

    /// Takes the app off the Page, as before the first `POST /{page-id}/subscribed_apps` or after an hour of failures.
    pub fn uninstall(&self, page_id: &str) {
        self.core.world().page_mut(page_id).installed = None;
    }

    /// Whether the Page's events go to its app at all.
    #[must_use]
    pub fn is_installed(&self, page_id: &str) -> bool {
        self.core.world().page(page_id).is_some_and(|page| page.installed.is_some())
    }

    /// The fields that the Page sends to its app.
    #[must_use]
    pub fn installed_fields(&self, page_id: &str) -> Vec<String> {
        self.core.world().page(page_id).and_then(|page| page.installed.clone()).unwrap_or_default()
    }

    /// Sets the fields that the Page sends to its app.
    pub fn install_fields(&self, page_id: &str, fields: &[&str]) {
        self.core.world().page_mut(page_id).installed = Some(fields.iter().map(|it| (*it).to_owned()).collect());
    }

    /// What the person sees from the Page, in order.
    #[must_use]
    pub fn seen_by(&self, page_id: &str, psid: &str) -> Vec<SentMessage> {
        self.core.world().person(page_id, psid).map(Person::received).unwrap_or_default()
    }

    /// The Page's reaction to a message, if it has one.
    #[must_use]
    pub fn page_reaction(&self, page_id: &str, psid: &str, mid: &str) -> Option<String> {
        self.core.world().person(page_id, psid)?.page_reactions.get(mid).cloned()
    }

    /// The sender actions the Page made towards the person, in order: `typing_on`, `mark_seen`…
    #[must_use]
    pub fn actions(&self, page_id: &str, psid: &str) -> Vec<String> {
        self.core.world().person(page_id, psid).map(|it| it.actions.clone()).unwrap_or_default()
    }
}
