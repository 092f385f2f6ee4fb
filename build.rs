//! `sqlx::migrate!` reads the migrations at compile time, but cargo sees a new file there only through this.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
