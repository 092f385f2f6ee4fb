//! The Graph API over HTTP. Turns calls into requests and answers into verdicts; decides nothing and remembers nothing.
//!
//! Tokens travel in a header and never in a URL; errors are stripped of their URLs before anybody can log them.

use std::time::Duration;

use bytes::Bytes;
use chrono::DateTime;
use reqwest::{
    Client, Method, RequestBuilder,
    multipart::{Form, Part},
    redirect,
};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

pub use super::usage::Usage;
use super::{errors::refusal, signature::appsecret_proof, usage::usage};
pub use super::{
    errors::{judge, judge_repeated},
    verdict::{Bucket, GraphError, Verdict},
};
use crate::{clock::Moment, secret::Secret};

/// Meta's host answers in milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Uploading a large file takes a while.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers are a few hundred bytes; lists of subscribed apps a few thousand.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A connection to the Graph API; cheap to clone.
#[derive(Clone, Debug)]
pub struct Graph {
    http: Client,
    base: Url,
    version: String,
}

/// The address is not usable, or the machine has no TLS roots.
#[derive(Debug, thiserror::Error)]
pub enum GraphSetupError {
    /// The base is no http or https URL.
    #[error("the Graph API's address must be an http or https URL")]
    Base,
    /// The HTTP client cannot be built.
    #[error("the HTTP client cannot be built")]
    Client(#[source] reqwest::Error),
}

/// Whom a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Me {
    /// The page's id.
    pub id: String,
    /// The page's name.
    #[serde(default)]
    pub name: String,
}

/// What Meta tells about a person; each part may be kept from us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Profile {
    /// Full name.
    pub name: Option<String>,
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Picture; the address expires.
    #[serde(rename = "profile_pic")]
    pub picture_url: Option<String>,
    /// Language, such as `tr_TR`.
    pub locale: Option<String>,
}

/// A message in Meta's own list of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListedMessage {
    /// The message's id.
    pub id: String,
    /// When it was sent: RFC 3339, but with `+0000` for the zone.
    #[serde(default)]
    pub created_time: String,
    /// Who sent it.
    #[serde(default)]
    pub from: Option<Sender>,
    /// Its text; empty for what is no text.
    #[serde(default)]
    pub message: String,
}

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sender {
    /// The page's id, or the person's.
    pub id: String,
}

impl ListedMessage {
    /// When it was sent, if that can be read; whole seconds.
    #[must_use]
    pub fn at(&self) -> Option<Moment> {
        let at = DateTime::parse_from_str(&self.created_time, "%Y-%m-%dT%H:%M:%S%z");
        Some(at.ok()?.to_utc())
    }
}

#[derive(Deserialize)]
struct Conversation {
    #[serde(default)]
    messages: Listed<ListedMessage>,
}

#[derive(Deserialize)]
struct Listed<T> {
    #[serde(default = "Vec::new")]
    data: Vec<T>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { data: Vec::new() }
    }
}

/// An app that receives a page's webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SubscribedApp {
    /// The app's id.
    pub id: String,
    /// The fields it asked for.
    #[serde(default)]
    pub subscribed_fields: Vec<String>,
}

/// What a call that is no message brought, and what its headers tell of limits.
pub type Answered<T> = (Result<T, Verdict>, Usage);

/// A token and the secret of the app it was made for: what every call is signed with.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The page's token.
    pub token: &'a Secret,
    /// The app's secret.
    pub app_secret: &'a Secret,
}

impl Graph {
    /// A client for `base` (`https://graph.facebook.com`) and `version` (`v26.0`) that waits for an answer for at most `patience`.
    pub fn new(base: &str, version: &str, patience: Duration) -> Result<Self, GraphSetupError> {
        let base = Url::parse(base).map_err(|_| GraphSetupError::Base)?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(GraphSetupError::Base);
        }
        // Whoever comes second finds the same provider already there.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(patience)
            // One call, one connection: what broke with it is known.
            .http1_only()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(GraphSetupError::Client)?;
        Ok(Self { http, base, version: version.to_owned() })
    }

    /// Sends one message on behalf of a page. A body of a sender action is for [`Graph::act`].
    pub async fn send(&self, access: Access<'_>, page_id: &str, body: &Value) -> (Verdict, Usage) {
        match self.call(self.request(Method::POST, &[page_id, "messages"], access).json(body)).await {
            Ok(answer) => (answer.with_wait(judge(answer.status, &answer.body)), answer.usage),
            Err(verdict) => (verdict, Usage::default()),
        }
    }

    /// The newest messages between a Page and a person, as Meta has them; at most 20. Allowed twice a second and Page.
    pub async fn latest_messages(&self, access: Access<'_>, page_id: &str, psid: &str) -> Answered<Vec<ListedMessage>> {
        let fields = "messages.limit(20){id,created_time,from,message}";
        let query = [("platform", "messenger"), ("user_id", psid), ("fields", fields)];
        let request = self.request(Method::GET, &[page_id, "conversations"], access).query(&query);
        let (answer, usage) = self.ask(request).await;
        let list = answer.and_then(understood::<Listed<Conversation>>);
        (list.map(|list| list.data.into_iter().flat_map(|it| it.messages.data).collect()), usage)
    }

    /// Shows typing or marks as seen; Meta answers without a message id.
    pub async fn act(&self, access: Access<'_>, page_id: &str, body: &Value) -> Answered<()> {
        let (answer, usage) = self.ask(self.request(Method::POST, &[page_id, "messages"], access).json(body)).await;
        (answer.map(drop), usage)
    }

    /// Gives Meta a file to send later; Meta's name for it, good for 90 days. Nobody sees it, so it may be repeated.
    pub async fn upload(
        &self,
        access: Access<'_>,
        page_id: &str,
        kind: &str,
        (name, mime): (&str, &str),
        bytes: Bytes,
    ) -> Result<String, Verdict> {
        let message = json!({"attachment": {"type": kind, "payload": {"is_reusable": true}}}).to_string();
        let length = bytes.len() as u64;
        let file = Part::stream_with_length(bytes, length).file_name(name.to_owned()).mime_str(mime);
        let file = file.map_err(|_| unexpected())?;
        let form = Form::new().text("message", message).part("filedata", file);
        let request = self.request(Method::POST, &[page_id, "message_attachments"], access);
        // The send that follows tells the same usage.
        let answer = self.ask(request.timeout(UPLOAD_TIMEOUT).multipart(form)).await.0?;
        let id = &answer["attachment_id"];
        id.as_str().map(str::to_owned).or_else(|| id.as_i64().map(|it| it.to_string())).ok_or_else(unexpected)
    }

    /// Takes a person's thread from the app that has it; for apps that may.
    pub async fn take_thread(&self, access: Access<'_>, page_id: &str, psid: &str) -> Answered<()> {
        let body = json!({"recipient": {"id": psid}});
        let request = self.request(Method::POST, &[page_id, "take_thread_control"], access).json(&body);
        let (answer, usage) = self.ask(request).await;
        (answer.and_then(|it| succeeded(&it)), usage)
    }

    /// The page a token belongs to.
    pub async fn me(&self, access: Access<'_>) -> Result<Me, Verdict> {
        let answer = self.ask(self.request(Method::GET, &["me"], access).query(&[("fields", "id,name")])).await.0?;
        understood(answer)
    }

    /// A person's profile, or nothing if they have none or we may not see it.
    pub async fn profile(&self, access: Access<'_>, psid: &str) -> Answered<Option<Profile>> {
        let ask = async |fields: &str| {
            self.ask(self.request(Method::GET, &[psid], access).query(&[("fields", fields)])).await
        };
        let (answer, usage) = match ask("name,first_name,last_name,profile_pic,locale").await {
            // The language needs a permission of its own (pages_user_locale); who lacks it gets the rest.
            (Err(verdict), _) if verdict.error().is_some_and(GraphError::is_about_fields) => {
                ask("name,first_name,last_name,profile_pic").await
            }
            answered => answered,
        };
        let profile = match answer.and_then(understood::<Profile>) {
            Ok(profile) => Ok(Some(profile).filter(|profile| *profile != Profile::default())),
            Err(verdict) if verdict.error().is_some_and(GraphError::is_no_profile) => Ok(None),
            Err(verdict) => Err(verdict),
        };
        (profile, usage)
    }

    /// Asks Meta to deliver a page's `fields` to the token's app; replaces the fields asked for before.
    pub async fn subscribe_page(&self, access: Access<'_>, page_id: &str, fields: &[&str]) -> Result<(), Verdict> {
        let body = json!({"subscribed_fields": fields.join(",")});
        let answer = self.ask(self.request(Method::POST, &[page_id, "subscribed_apps"], access).json(&body)).await.0?;
        succeeded(&answer)
    }

    /// The apps that receive a page's webhooks. Ours is missing after Meta has disabled it.
    pub async fn subscribed_apps(&self, access: Access<'_>, page_id: &str) -> Result<Vec<SubscribedApp>, Verdict> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            data: Vec<SubscribedApp>,
        }
        let answer = self.ask(self.request(Method::GET, &[page_id, "subscribed_apps"], access)).await.0?;
        understood::<List>(answer).map(|list| list.data)
    }

    /// Sets the app's callback and fields for pages. Meta asks the callback for its challenge before it answers.
    pub async fn subscribe_app(
        &self,
        app_id: &str,
        app_secret: &Secret,
        callback_url: &str,
        verify_token: &Secret,
        fields: &[&str],
    ) -> Result<(), Verdict> {
        let token = Secret::new(format!("{app_id}|{}", app_secret.expose()));
        let body = json!({
            "object": "page",
            "callback_url": callback_url,
            "verify_token": verify_token.expose(),
            "fields": fields.join(","),
            "include_values": true,
        });
        let access = Access { token: &token, app_secret };
        let answer = self.ask(self.request(Method::POST, &[app_id, "subscriptions"], access).json(&body)).await.0?;
        succeeded(&answer)
    }

    fn request(&self, method: Method, path: &[&str], access: Access<'_>) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(&self.version).extend(path);
        }
        self.http
            .request(method, url)
            .bearer_auth(access.token.expose())
            .query(&[("appsecret_proof", appsecret_proof(access.app_secret, access.token))])
    }

    /// A call whose answer is not a message.
    async fn ask(&self, request: RequestBuilder) -> Answered<Value> {
        let answer = match self.call(request).await {
            Ok(answer) => answer,
            Err(verdict) => return (Err(verdict), Usage::default()),
        };
        let result = match refusal(answer.status, &answer.body) {
            None => Ok(serde_json::from_slice(&answer.body).unwrap_or_default()),
            Some(verdict) => Err(answer.with_wait(verdict)),
        };
        (result, answer.usage)
    }

    async fn call(&self, request: RequestBuilder) -> Result<Answer, Verdict> {
        let mut response = request.send().await.map_err(broken)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let seconds = header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let used = usage(header("x-app-usage"), header("x-business-use-case-usage"));
        let wait = used.regain_after().max(seconds);
        let mut answer = Answer { status: response.status().as_u16(), body: Vec::new(), wait, usage: used };
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            answer.body.extend_from_slice(&chunk);
            if answer.body.len() > MAX_ANSWER_BYTES {
                break;
            }
        }
        Ok(answer)
    }
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    /// How long the headers ask us to wait.
    wait: Option<Duration>,
    usage: Usage,
}

impl Answer {
    fn with_wait(&self, mut verdict: Verdict) -> Verdict {
        if let Verdict::BackOff { after, .. } | Verdict::Retry { after, .. } = &mut verdict {
            *after = self.wait;
        }
        verdict
    }
}

/// A call that got no (whole) answer. Only what surely never left us may be repeated.
fn broken(error: reqwest::Error) -> Verdict {
    let was_written = !(error.is_connect() || error.is_builder());
    let error = error.without_url();
    let why = GraphError { message: chain(&error), ..GraphError::default() };
    if error.is_builder() {
        Verdict::Fail { why }
    } else if was_written {
        Verdict::MaybeSent { why }
    } else {
        Verdict::Retry { after: None, at_most: None, why }
    }
}

/// An error with all its sources: here the outermost alone says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Verdict> {
    serde_json::from_value(answer).map_err(|_| unexpected())
}

/// Some pages of Meta's print `true` as a text.
fn succeeded(answer: &Value) -> Result<(), Verdict> {
    let is_success = answer["success"] == true || answer["success"] == "true";
    if is_success { Ok(()) } else { Err(unexpected()) }
}

fn unexpected() -> Verdict {
    let why = GraphError { message: "the answer has an unexpected form".to_owned(), ..GraphError::default() };
    Verdict::Fail { why }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A Graph API that gives one answer (or hangs up, if the answer is empty) and returns the request it saw.
    async fn pretend(answer: &'static str) -> (Graph, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                let count = stream.read(&mut buffer).await.expect("a request");
                request.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
            stream.write_all(answer.as_bytes()).await.expect("an open connection");
            request
        });
        (Graph::new(&format!("http://{address}"), "v26.0", PATIENCE).expect("a client"), seen)
    }

    fn is_whole(request: &str) -> bool {
        let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        body.len() >= length.unwrap_or(0)
    }

    async fn send(graph: &Graph) -> Verdict {
        let (token, app_secret) = (Secret::new("pretend-token"), Secret::new("pretend-secret"));
        let access = Access { token: &token, app_secret: &app_secret };
        graph.send(access, "1000001", &json!({"recipient": {"id": "7000001"}})).await.0
    }

    #[tokio::test]
    async fn a_message_goes_out_signed_and_without_the_token_in_its_address() {
        let (graph, seen) = pretend("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"message_id\":\"m_1\"}").await;
        assert_eq!(send(&graph).await, Verdict::Sent { mid: "m_1".to_owned() });
        let request = seen.await.expect("a request");
        let proof = appsecret_proof(&Secret::new("pretend-secret"), &Secret::new("pretend-token"));
        let first = request.lines().next().unwrap_or_default();
        assert_eq!(first, format!("POST /v26.0/1000001/messages?appsecret_proof={proof} HTTP/1.1"));
        assert!(request.contains("authorization: Bearer pretend-token\r\n"), "the token stands in its header");
        assert!(!request.contains("pretend-secret"), "the secret never leaves us");
        assert!(request.ends_with(r#"{"recipient":{"id":"7000001"}}"#));
    }

    #[tokio::test]
    async fn what_never_left_us_may_be_repeated_and_what_did_may_not() {
        let nobody = Graph::new("http://127.0.0.1:1", "v26.0", PATIENCE).expect("a client");
        let verdict = send(&nobody).await;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{verdict:?}");
        assert!(!format!("{verdict:?}").contains("appsecret_proof"), "errors hold no address: {verdict:?}");

        let (graph, _) = pretend("").await;
        let verdict = send(&graph).await;
        assert!(matches!(verdict, Verdict::MaybeSent { .. }), "{verdict:?}");

        let (graph, _) = pretend("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"message_id\":").await;
        let verdict = send(&graph).await;
        assert!(matches!(verdict, Verdict::MaybeSent { .. }), "{verdict:?}");
    }

    #[tokio::test]
    async fn headers_say_how_long_to_wait() {
        let (graph, _) = pretend(
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\nx-business-use-case-usage: {\"1\":[{\"estimated_time_to_regain_access\":19}]}\r\n\r\n{\"error\":{\"code\":80006}}",
        )
        .await;
        let verdict = send(&graph).await;
        let after = Some(Duration::from_secs(19 * 60));
        assert!(matches!(&verdict, Verdict::BackOff { after: it, .. } if *it == after), "{verdict:?}");
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = elsewhere.local_addr().expect("an address");
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let answer = format!("HTTP/1.1 {status}\r\nlocation: http://{address}/\r\nconnection: close\r\n\r\n");
            let (graph, _) = pretend(answer.leak()).await;
            let verdict = send(&graph).await;
            assert!(matches!(verdict, Verdict::Fail { .. }), "{verdict:?}");
        }
        let visited = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
        assert!(visited.is_err(), "the token has gone elsewhere");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let graph = Graph::new(&format!("http://{}", listener.local_addr().expect("an address")), "v26.0", PATIENCE);
        let talking = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"message_id\":\"").await.expect("an open connection");
            let mut count = 0_usize;
            while stream.write_all(&[b'm'; 65_536]).await.is_ok() {
                count += 65_536;
            }
            count
        });
        let verdict = send(&graph.expect("a client")).await;
        assert!(matches!(verdict, Verdict::MaybeSent { .. }), "{verdict:?}");
        let taken = talking.await.expect("an end");
        assert!(taken < 32 * MAX_ANSWER_BYTES, "{taken} bytes were taken");
    }

    #[tokio::test]
    async fn a_profile_we_may_not_see_is_none() {
        let (token, app_secret) = (Secret::new("pretend-token"), Secret::new("pretend-secret"));
        let access = Access { token: &token, app_secret: &app_secret };
        for (answer, name) in [
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"id\":\"7\"}", None),
            ("HTTP/1.1 400 No\r\nconnection: close\r\n\r\n{\"error\":{\"code\":100,\"error_subcode\":33}}", None),
            ("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"first_name\":\"Anna\"}", Some("Anna")),
        ] {
            let (graph, seen) = pretend(answer).await;
            let profile = graph.profile(access, "7/../me").await.0.expect("no error");
            assert_eq!(profile.and_then(|it| it.first_name).as_deref(), name);
            assert!(
                seen.await.expect("a request").starts_with("GET /v26.0/7%2F..%2Fme?"),
                "ids cannot leave their place"
            );
        }
    }

    #[tokio::test]
    async fn a_refused_token_is_told_apart() {
        let (token, app_secret) = (Secret::new("pretend-token"), Secret::new("pretend-secret"));
        let (graph, _) = pretend("HTTP/1.1 401 No\r\nconnection: close\r\n\r\n{\"error\":{\"code\":190}}").await;
        let verdict = graph.me(Access { token: &token, app_secret: &app_secret }).await;
        assert!(matches!(verdict, Err(Verdict::Reauth { .. })), "{verdict:?}");
    }
}
