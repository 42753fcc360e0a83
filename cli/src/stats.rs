//! `millrace stats`: how many jobs there are, and how deep the queues.

use clap::Args;
use serde_json::Value;

use crate::{
    api::Connection,
    print::{self, line},
};

/// What to show.
#[derive(Args)]
pub(crate) struct Options {
    /// What happened in so many minutes as well, at most 1440.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1440))]
    minutes: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

const STATES: [&str; 6] = ["scheduled", "queued", "running", "succeeded", "dead", "cancelled"];
const DEPTHS: [&str; 4] = ["visible", "in_flight", "delayed", "dead_lettered"];
const HAPPENED: [&str; 8] = ["accepted", "started", "succeeded", "retried", "snoozed", "crashed", "dead", "cancelled"];

/// Carries the command out.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let path = format!("/v1/stats?minutes={}", options.minutes);
    let stats = options.connection.open()?.get(&path).await?.body;
    if options.json {
        print::json(&stats)?;
        return Ok(());
    }
    table("jobs", &stats["jobs"], &["kind"], &STATES)?;
    table("queues", &stats["queues"], &["queue"], &DEPTHS)?;
    if options.minutes > 0 {
        table("minutes", &stats["minutes"], &["minute", "kind"], &HAPPENED)?;
    }
    Ok(())
}

fn table(title: &str, rows: &Value, names: &[&str], numbers: &[&str]) -> anyhow::Result<()> {
    for text in lines(title, rows, names, numbers) {
        line(text)?;
    }
    Ok(())
}

/// Names to the left, numbers to the right, each column as wide as it must be.
fn lines(title: &str, rows: &Value, names: &[&str], numbers: &[&str]) -> Vec<String> {
    let cell = |row: &Value, field: &str| match &row[field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let columns: Vec<&str> = names.iter().chain(numbers).copied().collect();
    let rows: Vec<Vec<String>> = rows
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| columns.iter().map(|field| cell(row, field)).collect())
        .collect();
    if rows.is_empty() {
        return vec![format!("{title}: none")];
    }
    let width = |i: usize| rows.iter().map(|row| row[i].len()).chain([columns[i].len()]).max().unwrap_or(0);
    let text = |cells: Vec<&str>| {
        let cells = cells.into_iter().enumerate().map(|(i, cell)| match i < names.len() {
            true => format!("{cell:<width$}", width = width(i)),
            false => format!("{cell:>width$}", width = width(i)),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    let head = text(columns.clone());
    [head].into_iter().chain(rows.iter().map(|row| text(row.iter().map(String::as_str).collect()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = json!([{"queue": "echo-high", "visible": 12345, "in_flight": 0}, {"queue": "e", "visible": 1, "in_flight": 2}]);
        let lines = lines("queues", &rows, &["queue"], &["visible", "in_flight"]);
        assert_eq!(
            lines,
            ["queue      visible  in_flight", "echo-high    12345          0", "e                1          2"]
        );
        assert_eq!(super::lines("jobs", &json!([]), &["kind"], &STATES), ["jobs: none"]);
    }
}
