//! `chatgate demo`: a tenant, people, a queue and a Page, set up through the doors like anybody's, with the simulator as Facebook.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::simulator::Simulator;

/// The tenant's slug.
pub const TENANT: &str = "demo";
/// Everybody's password. The demo listens on loopback only.
pub const PASSWORD: &str = "demo-password";
/// The admin and supervisor.
pub const SUPERVISOR: &str = "sue@demo.test";
/// The agents.
pub const AGENTS: [(&str, &str); 2] = [("ben@demo.test", "Ben"), ("cleo@demo.test", "Cleo")];
/// The pretend Meta app.
pub const APP_ID: &str = "500100200300400";
const APP_SECRET: &str = "demo-app-secret-demo-app-secret-00";
/// The pretend Page.
pub const PAGE_ID: &str = "100200300400500";
const PAGE_TOKEN: &str = "demo-page-token";
/// The first customer.
pub const CUSTOMER: &str = "7100200300400500";

/// The pretend Facebook with its app, Page and customers.
pub fn populate(simulator: &Simulator) {
    simulator.add_app(APP_ID, APP_SECRET);
    simulator.add_page(APP_ID, PAGE_ID, "Acme Shop", PAGE_TOKEN);
    simulator.add_person(PAGE_ID, CUSTOMER, "Anna", "Bell", Some("anna.bell@example.com"), Some("+12025550123"));
    simulator.add_person(PAGE_ID, "7100200300400501", "Emre", "Kaya", Some("emre.kaya@example.com"), None);
}

/// Somebody who calls the API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A caller of the server at `base`, with a token.
    #[must_use]
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self { http: reqwest::Client::builder().no_proxy().build().unwrap_or_default(), base: base.to_owned(), token }
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
        let mut request = self.http.request(method, format!("{}/api/v1{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or(Value::Null)))
    }

    async fn create(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let (status, answer) = self.call(reqwest::Method::POST, path, Some(body)).await?;
        if status != 201 {
            bail!("POST {path} answered {status}: {answer}");
        }
        Ok(answer)
    }

    async fn log_in(&self, email: &str) -> anyhow::Result<Self> {
        let session =
            self.create("/sessions", json!({ "tenant": TENANT, "email": email, "password": PASSWORD })).await?;
        let token = session["token"].as_str().context("a session has a token")?;
        Ok(Self { http: self.http.clone(), base: self.base.clone(), token: Some(token.to_owned()) })
    }
}

/// Sets the demo up where it is not set up yet, and tells the simulator where to deliver.
///
/// # Errors
/// If a door refuses.
pub async fn set_up(base: &str, operator_token: &str, simulator: &Simulator) -> anyhow::Result<()> {
    let operator = Client::new(base, Some(operator_token.to_owned()));
    let tenant = json!({ "slug": TENANT, "name": "Acme", "admin": { "email": SUPERVISOR, "name": "Sue", "password": PASSWORD } });
    let (status, answer) = operator.call(reqwest::Method::POST, "/tenants", Some(tenant)).await?;
    let admin = match status {
        201 => {
            let admin = operator.log_in(SUPERVISOR).await?;
            fill(&admin).await?;
            admin
        }
        409 => operator.log_in(SUPERVISOR).await?,
        _ => bail!("POST /tenants answered {status}: {answer}"),
    };
    let (_, widgets) = admin.call(reqwest::Method::GET, "/widgets", None).await?;
    let id = widgets["items"][0]["id"]
        .as_str()
        .context("the demo's widget is gone; remove the data directory to begin anew")?;
    let (_, callback) = admin.call(reqwest::Method::GET, &format!("/widgets/{id}/callback"), None).await?;
    // What Meta's own dashboard does: verify the callback, subscribe the Page.
    let (status, answer) = admin.call(reqwest::Method::POST, &format!("/widgets/{id}/subscribe"), None).await?;
    if status >= 300 {
        bail!("the pretend Facebook does not accept the callback ({status}): {answer}");
    }
    simulator.set_callback(APP_ID, callback["callback_url"].as_str().context("a callback has an address")?);
    Ok(())
}

async fn fill(admin: &Client) -> anyhow::Result<()> {
    let (_, me) = admin.call(reqwest::Method::GET, "/me", None).await?;
    let id = me["id"].as_str().context("I have an id")?;
    admin
        .call(reqwest::Method::PATCH, &format!("/users/{id}"), Some(json!({ "roles": ["admin", "supervisor"] })))
        .await?;
    let queue = admin.create("/queues", json!({ "name": "Sales", "offer_timeout_s": 60 })).await?;
    for (email, name) in AGENTS {
        let user = json!({ "email": email, "name": name, "password": PASSWORD, "roles": ["agent"], "max_chats": 4 });
        let user = admin.create("/users", user).await?;
        let path = format!(
            "/queues/{}/members/{}",
            queue["id"].as_str().unwrap_or_default(),
            user["id"].as_str().unwrap_or_default()
        );
        let (status, answer) = admin.call(reqwest::Method::PUT, &path, Some(json!({ "priority": 1 }))).await?;
        if status >= 300 {
            bail!("PUT {path} answered {status}: {answer}");
        }
    }
    let widget = admin
        .create(
            "/widgets",
            json!({
                "name": "Acme page", "channel": "messenger", "display_name": "Acme", "color": "#1877f2",
                "tags": { "offered": ["sales", "order", "complaint"], "required": false },
                "texts": {
                    "opening": "Hello {first_name}, you are talking to {agent_name} of {display_name}. How can I help?",
                    "closing": "Thank you for writing to {display_name}. Goodbye, {first_name}!",
                    "email_prompt": "May we have your e-mail address?",
                    "phone_prompt": "May we have your phone number?",
                },
                "messenger": { "app_id": APP_ID, "app_secret": APP_SECRET, "page_access_token": PAGE_TOKEN },
            }),
        )
        .await?;
    admin
        .create("/incoming-chats", json!({ "name": "Acme page to Sales", "widget_id": widget["id"], "queue_id": queue["id"], "enabled": true }))
        .await?;
    for (shortcut, text) in [
        ("hours", "We are here from Monday to Friday, nine to six."),
        ("order", "May I have your order number, {first_name}? It begins with a 4."),
        ("thanks", "You are welcome, {first_name}. Have a good day!"),
    ] {
        admin.create("/canned-answers", json!({ "shortcut": shortcut, "text": text })).await?;
    }
    Ok(())
}
