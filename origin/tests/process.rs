//! The `headwater` binary as an operator meets it: started by its environment, stopped by a signal.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process; killed when dropped, so that a failed test leaves none behind.
struct Server {
    child: Child,
    log: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(data_directory: &Path) -> Self {
        let mut child = headwater(data_directory).stdout(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap());
        let line = loop {
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "listening" {
                break line;
            }
        };
        let port = line["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        Self { child, log, port }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn headwater(data_directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headwater"));
    command.env_clear().env("PDS_PORT", "0").env("PDS_DATA_DIRECTORY", data_directory);
    command
}

fn assert_stops_on(signal: &str) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start(directory.path());

    // A connection that was used and is kept open: it must not hold the server up.
    let mut idle = server.connect();
    idle.write_all(b"GET /xrpc/_health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut status = [0; 15];
    idle.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");

    let started = Instant::now();
    server.signal(signal);
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).unwrap();
    let status = server.child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(4), "took {:?}", started.elapsed());
    assert!(rest.lines().last().unwrap().contains("stopped"), "{rest}");
}

#[test]
fn sigterm_stops_the_server_with_status_0() {
    assert_stops_on("TERM");
}

#[test]
fn sigint_stops_the_server_with_status_0() {
    assert_stops_on("INT");
}

#[test]
fn a_second_server_on_a_data_directory_says_why_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Server::start(directory.path());
    let second = headwater(directory.path()).output().unwrap();
    assert!(!second.status.success());
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("is in use by another server"), "{error}");
}

#[test]
fn an_unusable_environment_is_reported_whole() {
    let directory = tempfile::tempdir().unwrap();
    let output = headwater(directory.path())
        .env("PDS_PORT", "70000")
        .env("PDS_HOSTNAME", "https://pds.example.com/")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("PDS_PORT is 70000") && error.contains("PDS_HOSTNAME is"), "{error}");
}

#[test]
fn a_check_of_the_configuration_says_all_that_is_wrong_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = headwater(directory.path());
    command.env("PDS_PORT", "70000").env("PDS_HOSTNAME", "https://pds.example.com/").env("PDS_ADMIN_PASWORD", "x");
    let output = command.args(["config", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("problem: PDS_PORT is 70000") && error.contains("problem: PDS_HOSTNAME is"), "{error}");
    assert!(error.contains("warning: PDS_ADMIN_PASWORD") && error.contains("PDS_ADMIN_PASSWORD"), "{error}");

    let output = command.arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["usable"], false);
    assert!(report["problems"].as_array().unwrap().len() >= 2, "{report}");
    assert!(report["settings"].is_null());
}

#[test]
fn a_check_of_a_usable_configuration_says_what_a_start_would_do_and_makes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let output = headwater(&directory).args(["config", "check", "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["usable"], true);
    assert_eq!(report["settings"]["service_did"], "did:web:localhost");
    assert_eq!(report["settings"]["data_directory"], directory.to_str().unwrap());
    assert!(report["warnings"][0].as_str().unwrap().contains("a start makes"), "{report}");
    assert!(!directory.exists());

    let output = headwater(&directory).args(["config", "check"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("did:web:localhost"), "{text}");
    assert!(!directory.exists());
}

#[test]
fn the_configuration_can_be_checked_beside_a_running_server() {
    let directory = tempfile::tempdir().unwrap();
    let _server = Server::start(directory.path());
    let output = headwater(directory.path()).args(["config", "check"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(warnings.contains("taken from"), "{warnings}");
}
