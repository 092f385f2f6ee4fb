//! Everything that was logged or answered in the whole run, so that no secret can hide in it.

use std::{
    io::Write,
    sync::{LazyLock, Mutex, Once},
};

/// Texts that must never be seen, wherever they came from.
pub const SECRETS: [&str; 4] = [APP_SECRET, PAGE_TOKEN, PASSWORD, NEW_PAGE_TOKEN];
pub const APP_SECRET: &str = "s3cr3t-app-secret-that-must-not-be-seen";
pub const PAGE_TOKEN: &str = "EAAs3cr3t-page-token-that-must-not-be-seen";
pub const NEW_PAGE_TOKEN: &str = "EAAs3cr3t-new-page-token-that-must-not-be-seen";
pub const PASSWORD: &str = "s3cr3t-password-that-must-not-be-seen";

/// Logged as an error because somebody should look; what is parked, every story counts in the ledger itself.
const PARKED: &str = "cannot be applied and is parked";

/// What customers write in the tests that look for it: the API shows it, the log may not.
pub const WORDS: &str = "words-of-a-customer-that-must-not-be-logged";

/// Logged by the keeper of a PostgreSQL that a test kills in this process (`outage.rs`).
const KILLED: &str = "PostgreSQL ended by itself";

static ERRORS: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);

/// Looks at a text and fails if there is a secret in it.
#[track_caller]
pub fn seen(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "a secret is shown: {text}");
    }
}

struct Watcher;

impl Write for Watcher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = String::from_utf8_lossy(bytes);
        if let Some(secret) = SECRETS.iter().chain([&WORDS]).find(|it| line.contains(**it)) {
            ERRORS.lock().unwrap().push(format!("{secret} was logged: {line}"));
        }
        if line.contains("\"level\":\"ERROR\"") && !line.contains(PARKED) && !line.contains(KILLED) {
            ERRORS.lock().unwrap().push(line.to_string());
        }
        if std::env::var_os("CHATGATE_TEST_LOGS").is_some() {
            eprint!("{line}");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts watching what is logged, at the finest grain of our own and what libraries say as well.
pub fn watch() {
    static START: Once = Once::new();
    START.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::new("debug,chatgate=trace");
        let layer =
            tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(|| Watcher);
        layer.init();
    });
}

/// What was logged as an error, or should not have been logged at all, since the last call.
pub fn errors() -> Vec<String> {
    std::mem::take(&mut *ERRORS.lock().unwrap())
}
