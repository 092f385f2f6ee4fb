//! The cheapest Graph API there can be: takes a message, notes when, answers with an id. Checks nothing and remembers nothing else, so
//! that what is measured is whoever sends.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    extract::{Path, State},
    http::header,
    response::IntoResponse,
    routing::post,
};
use bytes::Bytes;
use tokio::net::TcpListener;

/// A receiving end.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicU64,
    /// Number in the text, and when it came; only while somebody wants to know.
    arrivals: Mutex<Option<Vec<(u64, Instant)>>>,
    hanging: Mutex<HashSet<String>>,
}

impl Receiver {
    /// Serves until the process ends; its address.
    pub async fn serve(&self) -> anyhow::Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let app = Router::new().route("/v26.0/{page}/messages", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(base)
    }

    /// Messages taken so far.
    pub fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Begins to note when which message comes.
    pub fn note_arrivals(&self) {
        *self.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// What was noted.
    pub fn take_arrivals(&self) -> Vec<(u64, Instant)> {
        self.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }

    /// This Page never answers.
    pub fn hang(&self, page: &str, on: bool) {
        let mut hanging = self.0.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        if on {
            hanging.insert(page.to_owned())
        } else {
            hanging.remove(page)
        };
    }

    fn is_hanging(&self, page: &str) -> bool {
        let hanging = self.0.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        !hanging.is_empty() && hanging.contains(page)
    }
}

async fn take(State(receiver): State<Receiver>, Path(page): Path<String>, body: Bytes) -> impl IntoResponse {
    let now = Instant::now();
    if receiver.is_hanging(&page) {
        std::future::pending::<()>().await;
    }
    if let Some(arrivals) = receiver.0.arrivals.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        && let Some(number) = number(&body)
    {
        arrivals.push((number, now));
    }
    let nth = receiver.0.count.fetch_add(1, Ordering::Relaxed);
    let answer = format!("{{\"recipient_id\":\"7\",\"message_id\":\"m_{page}_{nth}\"}}");
    ([(header::CONTENT_TYPE, "application/json")], answer)
}

/// The number after `"text":"reply `.
fn number(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let from = text.find("\"reply ")? + "\"reply ".len();
    text[from..].split(' ').next()?.parse().ok()
}
