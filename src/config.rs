//! The settings: `config/chatgate.toml` compiled in, then a file, then environment variables.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use url::Url;

use crate::{seal::SealKey, secret::Secret};

const DEFAULTS: &str = include_str!("../config/chatgate.toml");
const PREFIX: &str = "CHATGATE__";
/// Shorter operator tokens could be guessed.
const MIN_TOKEN_LENGTH: usize = 20;

/// Every setting; what each means stands in `config/chatgate.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "documented, with defaults and units, in config/chatgate.toml")]
pub struct Settings {
    pub data_dir: PathBuf,
    pub operator_token: Secret,
    pub http: Http,
    pub database: Database,
    pub graph: Graph,
    pub media: Media,
    pub replies: Replies,
    pub seal: Seal,
    pub metrics: Metrics,
    pub log: Log,
    pub agents: Agents,
    pub sessions: Sessions,
    pub retention: Retention,
}

macro_rules! sections {
    ($($name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        #[doc = concat!("See `config/chatgate.toml`: ", stringify!($name), ".")]
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "documented, with defaults and units, in config/chatgate.toml")]
        pub struct $name { $(pub $field: $kind),* }
    )*};
}

sections! {
    Http { listen: SocketAddr, public_url: String, drain_s: u32, trust_forwarded_for: bool, max_connections: u32, patience_s: u32 }
    Database { url: Secret, max_connections: u32 }
    Graph { base_url: Url, version: String, timeout_s: u32 }
    Media {
        store: String,
        s3_endpoint: String,
        s3_region: String,
        s3_access_key_id: String,
        s3_secret_access_key: Secret,
        hosts: String,
        max_mib: u32,
        fetch_s: u32,
        link_hours: u32,
    }
    Replies { at_once: u32, page_per_s: u32, page_media_per_s: u32, app_per_s: u32, person_per_s: u32 }
    Seal { key: Secret }
    Metrics { listen: String }
    Log { format: LogFormat, filter: String }
    Agents { stream_lost_s: u32, rooms_return_s: u32, rering_s: u32 }
    Sessions { hours: u32 }
    Retention { days: u32 }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// A setting that cannot be used, in one line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad settings: {0}")]
pub struct BadSettings(String);

impl From<config::ConfigError> for BadSettings {
    fn from(error: config::ConfigError) -> Self {
        Self(error.to_string().replace('\n', " "))
    }
}

impl Settings {
    /// Reads the settings; `environment` is the process's variables, or a test's.
    ///
    /// # Errors
    /// One line naming the setting: unknown, unreadable, or out of range.
    pub fn load(file: Option<&Path>, environment: &[(String, String)]) -> Result<Self, BadSettings> {
        let mut source =
            config::Config::builder().add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml));
        if let Some(file) = file {
            source = source.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let mut variables: HashMap<String, String> =
            environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).cloned().collect();
        // The name that platforms set; ours wins.
        if let Some((_, url)) = environment.iter().find(|(name, _)| name == "DATABASE_URL") {
            variables.entry("CHATGATE__DATABASE__URL".to_owned()).or_insert_with(|| url.clone());
        }
        let variables =
            config::Environment::with_prefix("CHATGATE").prefix_separator("__").separator("__").source(Some(variables));
        let settings: Self = source.add_source(variables).build()?.try_deserialize()?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), BadSettings> {
        let bad = |name: &str, why: &str| Err(BadSettings(format!("{name} {why}")));
        if !self.http.public_url.is_empty() {
            match Url::parse(&self.http.public_url) {
                Ok(url) if ["http", "https"].contains(&url.scheme()) && url.query().is_none() => {}
                _ => return bad("http.public_url", "must be an http or https address without a query"),
            }
        }
        let token = self.operator_token.expose();
        if !token.is_empty() && (!token.starts_with("cgo_") || token.len() < MIN_TOKEN_LENGTH) {
            return bad("operator_token", "must begin with cgo_ and have at least 20 characters");
        }
        if !self.seal.key.expose().is_empty() && SealKey::parse(self.seal.key.expose()).is_err() {
            return bad("seal.key", "must be 32 bytes in base64 (openssl rand -base64 32)");
        }
        if !self.database.url.expose().is_empty() && self.seal.key.expose().is_empty() {
            return bad(
                "seal.key",
                "is required with a database of your own: set CHATGATE__SEAL__KEY (openssl rand -base64 32)",
            );
        }
        if !self.metrics.listen.is_empty() && self.metrics.listen.parse::<SocketAddr>().is_err() {
            return bad("metrics.listen", "must be an address with a port, or empty");
        }
        if !(2..=1000).contains(&self.database.max_connections) {
            return bad("database.max_connections", "must be 2–1000");
        }
        if !(10..=100_000).contains(&self.http.max_connections) {
            return bad("http.max_connections", "must be 10–100000");
        }
        if !(1..=600).contains(&self.http.patience_s) {
            return bad("http.patience_s", "must be 1–600");
        }
        if !(1..=24 * 90).contains(&self.sessions.hours) {
            return bad("sessions.hours", "must be 1–2160");
        }
        if !(1..=3650).contains(&self.retention.days) {
            return bad("retention.days", "must be 1–3650");
        }
        if !self.media.store.is_empty() && !self.media.store.starts_with("s3://") {
            return bad("media.store", "must be empty or s3://bucket/prefix");
        }
        if !(1..=100).contains(&self.media.max_mib) {
            return bad("media.max_mib", "must be 1–100");
        }
        if !(1..=300).contains(&self.media.fetch_s) {
            return bad("media.fetch_s", "must be 1–300");
        }
        if !(1..=24 * 30).contains(&self.media.link_hours) {
            return bad("media.link_hours", "must be 1–720");
        }
        if !(1..=120).contains(&self.graph.timeout_s) {
            return bad("graph.timeout_s", "must be 1–120");
        }
        let replies = &self.replies;
        if !(1..=4096).contains(&replies.at_once) {
            return bad("replies.at_once", "must be 1–4096");
        }
        let rates = [replies.page_per_s, replies.page_media_per_s, replies.app_per_s, replies.person_per_s];
        if rates.iter().any(|it| !(1..=100_000).contains(it)) {
            return bad("replies", "page_per_s, page_media_per_s, app_per_s and person_per_s must be 1–100000");
        }
        let base = &self.graph.base_url;
        if !["http", "https"].contains(&base.scheme()) || base.cannot_be_a_base() {
            return bad("graph.base_url", "must be an http or https address");
        }
        Ok(())
    }

    /// What deserves a warning at start, one line each.
    #[must_use]
    pub fn risks(&self) -> Vec<String> {
        let mut risks = Vec::new();
        let public = !self.http.listen.ip().is_loopback();
        if public && !self.http.public_url.starts_with("https://") {
            risks.push("http.listen is not loopback and http.public_url is not https: tokens and messages may travel in the clear".to_owned());
        }
        if self.metrics.listen.parse::<SocketAddr>().is_ok_and(|it| !it.ip().is_loopback()) {
            risks.push("metrics.listen is not loopback: /metrics has no credentials".to_owned());
        }
        let graph = &self.graph.base_url;
        if graph.scheme() == "http"
            && !graph.host_str().is_some_and(|it| it == "localhost" || it.starts_with("127.") || it == "[::1]")
        {
            risks.push("graph.base_url is plain http: page tokens would travel in the clear".to_owned());
        }
        risks
    }

    /// The address in callback URLs, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> String {
        if self.http.public_url.is_empty() {
            format!("http://{}", self.http.listen)
        } else {
            self.http.public_url.trim_end_matches('/').to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expected: Result<(), &str>) {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match (Settings::load(None, &variables), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => {
                let error = error.to_string();
                assert!(error.contains(part) && !error.contains('\n'), "{error}");
            }
            (got, _) => panic!("{got:?}"),
        }
    }

    #[test]
    fn variables_are_laid_over_the_defaults_and_checked() {
        check(&[], Ok(()));
        check(&[("CHATGATE__HTTP__LISTEN", "127.0.0.1:0"), ("CHATGATE_SHARED", "x"), ("PATH", "/bin")], Ok(()));
        check(&[("CHATGATE__HTTP__LISTEN", "here")], Err("listen"));
        check(&[("CHATGATE__HTTP__PORT", "1")], Err("port"));
        check(&[("CHATGATE__NOISE", "1")], Err("noise"));
        check(&[("CHATGATE__OPERATOR_TOKEN", "short")], Err("operator_token"));
        check(&[("CHATGATE__SEAL__KEY", "AAAA")], Err("seal.key"));
        check(&[("DATABASE_URL", "postgres://x")], Err("seal.key"));
        check(&[("CHATGATE__HTTP__PATIENCE_S", "0")], Err("patience_s"));
        check(&[("CHATGATE__HTTP__MAX_CONNECTIONS", "1")], Err("max_connections"));
        check(&[("CHATGATE__SESSIONS__HOURS", "0")], Err("sessions.hours"));
        check(&[("CHATGATE__GRAPH__TIMEOUT_S", "0")], Err("graph.timeout_s"));
        check(&[("CHATGATE__REPLIES__AT_ONCE", "0")], Err("replies.at_once"));
        check(&[("CHATGATE__REPLIES__PAGE_PER_S", "0")], Err("page_per_s"));
        check(&[("CHATGATE__DATABASE__MAX_CONNECTIONS", "many")], Err("max_connections"));
    }

    #[test]
    fn the_named_variables_win() {
        let key = SealKey::generate();
        let variables = [
            ("DATABASE_URL", "postgres://a"),
            ("CHATGATE__DATABASE__URL", "postgres://b"),
            ("CHATGATE__SEAL__KEY", &key),
        ];
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = Settings::load(None, &variables).unwrap();
        assert_eq!(settings.database.url.expose(), "postgres://b");
        assert_eq!(settings.public_url(), "http://127.0.0.1:8080");
        assert!(!format!("{settings:?}").contains(&key));
    }
}
