//! `sqlx::migrate!` and the embedded desk read files at compile time, but cargo sees a new one there only through this.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    // Debug builds read the desk's files when they are asked for.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        // There even before the desk is built: cargo would take a missing one for changed, and compile everything each time.
        drop(std::fs::create_dir_all("web/dist"));
        println!("cargo::rerun-if-changed=web/dist");
    }
}
