//! What a new user does first: the README's commands, and wrong ones. The demo is in `browser`.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub fn home(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("cg-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).unwrap();
    path
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn chatgate(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatgate"));
    command
        .current_dir(home)
        .env_remove("DATABASE_URL")
        .env("CHATGATE__DATA_DIR", home.join("data"))
        .env("CHATGATE__METRICS__LISTEN", "");
    command
}

/// Starts a command and waits for a line that has this word; the lines up to it.
pub fn start(command: &mut Command, word: &str) -> (Running, Vec<String>) {
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap());
    let mut output = BufReader::new(running.0.stdout.take().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "it ended: {lines:?}");
        lines.push(line.trim_end().to_owned());
        if line.contains(word) {
            // Somebody must go on reading, or the writer stops.
            std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            return (running, lines);
        }
    }
}

#[test]
fn the_readmes_commands_walk_from_tenant_to_reply() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = home("readme");
    let (gateway, facebook) = (free_port(), free_port());
    let (_pretend, _) =
        start(chatgate(&home).args(["simulate", "--listen", &format!("127.0.0.1:{facebook}")]), "Graph API");
    let token = "cgo_operator-token-of-the-readme";
    let mut serve = chatgate(&home);
    serve
        .arg("serve")
        .env("CHATGATE__HTTP__LISTEN", format!("127.0.0.1:{gateway}"))
        .env("CHATGATE__GRAPH__BASE_URL", format!("http://127.0.0.1:{facebook}"))
        .env("CHATGATE__OPERATOR_TOKEN", token);
    let _serving = Running(serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let base = format!("http://127.0.0.1:{gateway}");
    let patient = ["-fsS", "--retry", "60", "--retry-delay", "1", "--retry-all-errors", "-o", "/dev/null"];
    let ready = Command::new("curl").args(patient).arg(format!("{base}/readyz")).status();
    assert!(ready.unwrap().success(), "the gateway is not ready");
    let commands = Command::new(root.join("script/readme-commands")).current_dir(root).output().unwrap();
    assert!(commands.status.success(), "{}", String::from_utf8_lossy(&commands.stderr));
    let walk = String::from_utf8(commands.stdout).unwrap();
    assert!(walk.contains("/messages"), "{walk}");
    let walked = Command::new("bash")
        .args(["-c", &walk])
        .current_dir(&home)
        .env("BASE", &base)
        .env("SIM", format!("http://127.0.0.1:{facebook}"))
        .env("OPERATOR_TOKEN", token)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&walked.stdout), String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{out}\n{err}");
    drop(std::fs::remove_dir_all(home));
}

#[test]
fn commands_say_what_is_wrong_in_one_line() {
    let home = home("wrong");
    for (arguments, variable, code, said) in [
        (&["check-config"][..], ("CHATGATE__NOISE", "1"), 1, "noise"),
        (&["check-config"][..], ("CHATGATE__HTTP__LISTEN", "here"), 1, "listen"),
        (&["serve", "--odd"][..], ("X", "1"), 2, "--odd"),
        (&["serve"][..], ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"), 1, "seal.key"),
    ] {
        let output = chatgate(&home).args(arguments).env(variable.0, variable.1).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains(said), "{error}");
        assert!(output.stdout.is_empty());
    }
    let document = chatgate(&home).arg("openapi").output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    drop(std::fs::remove_dir_all(home));
}
