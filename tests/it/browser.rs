//! The desk and the simulator's page in a real browser. What is done there is told by the scripts in `tests/desk`; here is what they need.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use super::commands::{chatgate, free_port, home, start};

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|it| it.success())
}

/// Where the scripts are; `None`, said once, where they cannot run.
fn scripts() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = root.join("tests/desk");
    let has_desk = root.join("web/dist/index.html").is_file();
    if has_desk && scripts.join("node_modules").is_dir() && has("node") && has("chromium") {
        return Some(scripts);
    }
    eprintln!("no desk, browser or node modules: script/test sees to them; nothing was tried in a browser");
    assert!(std::env::var_os("CI").is_none(), "script/test must have installed the browser");
    None
}

/// One browser at a time: several of them make each other wait for longer than a step may take.
static BROWSER: Mutex<()> = Mutex::new(());

/// Runs one script to its end. Pictures go below `SHOTS`, if that is set.
fn runs(scripts: &Path, script: &str, home: &Path, variables: &[(&str, &str)]) {
    let shots = std::env::var("SHOTS").map_or_else(|_| home.join("shots"), PathBuf::from);
    let walked = Command::new("node")
        .arg(format!("{script}.mjs"))
        .current_dir(scripts)
        .envs(variables.iter().copied())
        .env("SHOTS", shots.join(script))
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&walked.stdout), String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{out}\n{err}");
    println!("{out}");
}

/// Runs one script against a demo of its own.
fn walks_the_demo(script: &str) {
    let Some(scripts) = scripts() else { return };
    let _alone = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let home = home(script);
    let mut demo = chatgate(&home);
    demo.arg("demo").env("CHATGATE__HTTP__LISTEN", format!("127.0.0.1:{}", free_port()));
    let (_demo, lines) = start(&mut demo, "Ctrl-C");
    let address = |part: &str| {
        lines.iter().find_map(|it| it.split_whitespace().find(|word| word.contains(part))).unwrap().to_owned()
    };
    let (chat, desk) = (address("/chat/"), address("/desk"));
    let origin = |url: &str| url.split('/').take(3).collect::<Vec<_>>().join("/");
    let variables = [
        ("CHATGATE_URL", origin(&desk)),
        ("SIM_URL", origin(&chat)),
        ("CUSTOMER_CHAT_URL", chat.clone()),
        ("TENANT", chatgate::app::demo::TENANT.to_owned()),
        ("PASSWORD", chatgate::app::demo::PASSWORD.to_owned()),
    ];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    runs(&scripts, script, &home, &variables);
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn the_demo_carries_a_conversation_in_a_browser() {
    walks_the_demo("walk");
}

#[test]
fn an_admin_sets_everything_up_in_a_browser() {
    walks_the_demo("setup");
}

#[test]
fn customers_write_as_in_messenger_and_faults_are_switched() {
    walks_the_demo("customer");
}
