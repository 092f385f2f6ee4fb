//! Tenants with Pages, queues and agents, made through the API.

use anyhow::Context;
use chatgate::simulator::Simulator;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::{
    client::{Client, id},
    gateway::Gateway,
};

/// Of everybody.
pub const PASSWORD: &str = "a password for the bench";
/// The API's limit.
const MAX_CHATS: u32 = 50;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Tenants, each with a Meta app.
    pub tenants: usize,
    /// Pages of each tenant, all of one queue.
    pub pages: usize,
    /// Agents of each tenant, all ready and in the queue, with 50 seats each.
    pub agents: usize,
}

/// A furnished tenant.
pub struct Tenant {
    /// Path of its app's webhook.
    pub webhook: String,
    /// The secret that signs.
    pub app_secret: String,
    /// Page ids.
    pub pages: Vec<String>,
    /// Its agents.
    pub agents: Vec<Client>,
}

/// Makes them all. Rooms are given to agents without being asked (`accept: auto`), and no automatic text goes out.
pub async fn furnish(gateway: &Gateway, size: Size) -> anyhow::Result<Vec<Tenant>> {
    let operator = gateway.operator()?;
    let tenants = futures::stream::iter(0..size.tenants).map(|nth| tenant(&operator, &gateway.facebook, nth, size));
    tenants.buffered(2).try_collect().await
}

async fn tenant(operator: &Client, facebook: &Simulator, nth: usize, size: Size) -> anyhow::Result<Tenant> {
    let (slug, email) = (format!("tenant-{nth}"), format!("ada@tenant-{nth}.test"));
    let admin = json!({ "email": email, "name": "Ada", "password": PASSWORD });
    operator.post("/tenants", json!({ "slug": slug, "name": slug, "admin": admin })).await?;
    let admin = operator.log_in(&slug, &email, PASSWORD).await?;
    let queue = admin.post("/queues", json!({ "name": "Sales", "accept": "auto" })).await?;
    let (app_id, app_secret) = (format!("9001{nth:08}"), format!("secret-of-app-{nth}-of-the-bench"));
    facebook.add_app(&app_id, &app_secret);
    let (mut pages, mut webhook) = (Vec::new(), String::new());
    for page in 0..size.pages {
        let (page_id, token) = (format!("1002{nth:04}{page:06}"), format!("EAA-page-token-{nth}-{page}"));
        facebook.add_page(&app_id, &page_id, "Page", &token);
        let messenger =
            json!({ "app_id": app_id, "app_secret": app_secret, "page_access_token": token, "page_id": page_id });
        let widget = json!({ "name": format!("Page {page}"), "channel": "messenger", "messenger": messenger });
        let widget = admin.post("/widgets", widget).await?;
        let chat = json!({ "name": format!("Page {page}"), "widget_id": id(&widget), "queue_id": id(&queue) });
        admin.post("/incoming-chats", chat).await?;
        let callback = admin.get(&format!("/widgets/{}/callback", id(&widget))).await?;
        let url = callback["callback_url"].as_str().context("a callback has an address")?;
        webhook = url[url.find("/webhooks").context("a callback's path")?..].to_owned();
        pages.push(page_id);
    }
    let mut agents = Vec::new();
    for agent in 0..size.agents {
        let email = format!("agent-{agent}@{slug}.test");
        let user = json!({ "email": email, "name": format!("Agent {agent}"), "password": PASSWORD, "roles": ["agent"],
            "max_chats": MAX_CHATS });
        let user = admin.post("/users", user).await?;
        admin.put(&format!("/queues/{}/members/{}", id(&queue), id(&user)), json!({ "priority": 1 })).await?;
        let agent = operator.log_in(&slug, &email, PASSWORD).await?;
        agent.put("/me/status", json!({ "status": "ready" })).await?;
        agents.push(agent);
    }
    Ok(Tenant { webhook, app_secret, pages, agents })
}
