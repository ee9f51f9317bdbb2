//! A consumer of the firehose that verifies with the official libraries what it sees.

use serde_json::Value;
use tests::Plc;
use tests::peers::{Packages, Program, plc_url};

/// A running consumer. It comes again, from where it was, when the server goes away.
pub(crate) struct Watch(Program);

impl Watch {
    /// Follows the server at `url` after the event `cursor`.
    pub(crate) fn start(packages: &Packages, url: &str, plc: &Plc, cursor: i64) -> Self {
        let mut command = packages.script("watch.mjs");
        command.args([url, &plc_url(plc), &cursor.to_string()]);
        Self(Program::start("the consumer", command))
    }

    /// Waits until it has seen the event `seq`; returns every event, each of which it could verify.
    ///
    /// # Panics
    ///
    /// When it found fault with one.
    pub(crate) async fn reaches(&self, seq: i64) -> Vec<Value> {
        self.until(&format!("event {seq}"), |events| events.iter().any(|event| event["seq"] == seq)).await
    }

    /// Waits until the events that it has seen are `enough`; returns them, as [`Watch::reaches`] does.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let events = |lines: &[String]| lines.iter().map(|line| event(line)).collect::<Vec<_>>();
        let is_over = |lines: &[String]| lines.iter().any(|line| is_fault(line)) || enough(&events(lines));
        let lines = self.0.wait_for(what, is_over).await;
        let faults: Vec<&String> = lines.iter().filter(|line| is_fault(line)).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        events(&lines)
    }

    /// What it has found fault with, once it has found something.
    pub(crate) async fn finds_fault(&self, what: &str) -> Vec<Value> {
        let lines = self.0.wait_for(what, |lines| lines.iter().any(|line| is_fault(line))).await;
        lines.iter().filter(|line| is_fault(line)).map(|line| event(line)).collect()
    }
}

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

fn is_fault(line: &str) -> bool {
    event(line)["seq"].is_null() || !event(line)["error"].is_null()
}
