//! A table in Markdown, as `docs/performance.md` keeps it.

/// Rows under a head, as wide as they need to be.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|it| (*it).to_owned()).collect()] }
    }

    /// Adds a row and shows it at once, so that whoever watches sees where the run is.
    pub fn row(&mut self, cells: Vec<String>) {
        eprintln!("  {}", cells.join(" · "));
        self.rows.push(cells);
    }

    /// All of it.
    pub fn print(&self) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| self.rows.iter().filter_map(|it| it.get(column)).map(|it| it.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|it| width(it).unwrap_or_default()).collect();
        for (nth, row) in self.rows.iter().enumerate() {
            let cell = |column: usize| row.get(column).map_or("", String::as_str);
            let cells = widths.iter().enumerate().map(|(column, width)| format!("{:width$}", cell(column)));
            println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
            if nth == 0 {
                println!("|{}|", widths.iter().map(|it| "-".repeat(it + 2)).collect::<Vec<_>>().join("|"));
            }
        }
    }
}

/// 12345.6 as `12,346`.
pub fn whole(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|it| std::str::from_utf8(it).ok()).collect();
    groups.join(",")
}
