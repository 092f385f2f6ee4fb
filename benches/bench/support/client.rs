//! The API as a set-up calls it.

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::Value;

/// Somebody with a token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    /// The credential.
    pub token: String,
}

impl Client {
    /// With an operator's token.
    pub fn new(base: &str, token: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, base: base.to_owned(), token: token.to_owned() })
    }

    /// Logs in.
    pub async fn log_in(&self, tenant: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        let session = serde_json::json!({ "tenant": tenant, "email": email, "password": password });
        let session = self.post("/sessions", session).await?;
        let token = session["token"].as_str().context("a session has a token")?;
        Ok(Self { token: token.to_owned(), ..self.clone() })
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// `POST`.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT`.
    pub async fn put(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request =
            self.http.request(method.clone(), format!("{}/api/v1{path}", self.base)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path} answered {status}: {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// The id of a resource.
pub fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap_or_default()
}
