//! Holds the table of floors: a module uses floors below its own, never its own or a higher one.

use std::{collections::BTreeMap, fs, path::Path};

const FLOORS: &[(u32, &[&str])] = &[
    (8, &["app", "main"]),
    (7, &["http", "simulator"]),
    (6, &["intake", "records"]),
    (5, &["queues", "replies", "live", "forwards"]),
    (4, &["rooms", "desk"]),
    (3, &["tenants", "contacts", "people", "widgets", "hours", "media"]),
    (2, &["audit", "channels"]),
    (1, &["config", "db", "crew", "telemetry"]),
    (0, &["check", "clock", "fair", "ids", "seal", "secret", "words"]),
];

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

fn sources(dir: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|it| it == "rs") {
            into.push(path);
        }
    }
}

/// Every module of the crate that a source names: `crate::name`, also inside `use crate::{…}`.
fn named(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            // The names at depth one of the braces.
            let (mut depth, mut word) = (1, String::new());
            let mut fresh = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => {
                        depth -= 1;
                        if depth == 0 {
                            break;
                        }
                    }
                    ',' if depth == 1 => fresh = true,
                    c if depth == 1 && fresh && (c.is_alphanumeric() || c == '_') => word.push(c),
                    c if depth == 1 && fresh && !word.is_empty() && !c.is_whitespace() => fresh = false,
                    _ => {}
                }
                if (!fresh || c == ',') && !word.is_empty() {
                    names.push(std::mem::take(&mut word));
                }
            }
            if !word.is_empty() {
                names.push(word);
            }
        } else {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names.retain(|it| !it.is_empty() && it.chars().next().is_some_and(char::is_lowercase));
    names
}

#[test]
fn modules_look_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let Some(own) = floor(&module) else {
            wrong.push(format!("{module} has no floor"));
            continue;
        };
        let source = fs::read_to_string(&file).unwrap();
        for name in named(&source) {
            *seen.entry(name.clone()).or_insert(0) += 1;
            match floor(&name) {
                Some(other) if other < own || name == module => {}
                // The ground is one piece.
                Some(0) if own == 0 => {}
                // Macros stand at the crate's root.
                None if source.contains(&format!("crate::{name}!")) => {}
                _ => wrong.push(format!("{} uses {name}", inside.display())),
            }
        }
    }
    assert!(seen.len() > 10, "the reader of sources finds too little: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_found_in_every_form_of_use() {
    let source = "use crate::{\n    clock::{Clock, Moment},\n    ids::TenantId,\n};\nlet x = crate::db::open();\n// crate::nothing\n";
    assert_eq!(named(source), ["clock", "ids", "db"]);
}

#[test]
fn sql_lives_in_stores() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let wrong: Vec<_> = files
        .iter()
        .filter(|it| {
            let shown = it.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            !shown.starts_with("db/") && !shown.ends_with("store.rs") && !shown.contains("/store/")
        })
        .filter(|it| {
            let source = fs::read_to_string(it).unwrap();
            ["query!(", "query_as!(", "query_scalar!(", "sqlx::query(", "raw_sql("]
                .iter()
                .any(|mark| source.contains(mark))
        })
        .collect();
    assert!(wrong.is_empty(), "SQL outside store.rs: {wrong:?}");
}
