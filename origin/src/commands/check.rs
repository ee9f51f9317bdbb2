//! `config check`: what is wrong with the environment, and what a start would use.
//!
//! What was asked for goes to the output, aligned for people or as one JSON object; everything else to the errors.

use std::io::{self, Write};

use serde::Serialize;

use crate::config::{Check, Config, SignUp};

/// What `config check --json` prints.
#[derive(Serialize)]
struct ConfigReport<'a> {
    /// Whether a server would start.
    usable: bool,
    problems: &'a [String],
    warnings: &'a [String],
    /// What it would start with.
    settings: Option<Settings>,
}

/// What matters most of a configuration. No secret is among it.
#[derive(Serialize)]
struct Settings {
    hostname: String,
    /// 0 lets the system choose.
    port: u16,
    service_did: String,
    handle_domains: Vec<String>,
    sign_up: &'static str,
    data_directory: String,
    account_db: String,
    sequencer_db: String,
    did_cache_db: String,
    actors: String,
    blobs: String,
    plc: String,
    crawlers: Vec<String>,
    rate_limits: String,
    edge: Option<String>,
}

/// Says everything that is wrong with the environment and what a start would use. No file is opened for writing or
/// made. Returns whether a server would start with it.
///
/// # Errors
/// When the output cannot be written.
pub fn check_config(json: bool, output: &mut impl Write, errors: &mut impl Write) -> io::Result<bool> {
    let Check { config, problems, warnings } = Config::check_env();
    let settings = config.as_ref().map(Settings::of);
    let usable = settings.is_some();
    if json {
        let report = ConfigReport { usable, problems: &problems, warnings: &warnings, settings };
        serde_json::to_writer(&mut *output, &report)?;
        writeln!(output)?;
        return Ok(usable);
    }
    for problem in &problems {
        writeln!(errors, "problem: {problem}")?;
    }
    for warning in &warnings {
        writeln!(errors, "warning: {warning}")?;
    }
    if let Some(settings) = settings {
        settings.print(output)?;
    } else {
        writeln!(errors, "The server does not start with this environment.")?;
    }
    Ok(usable)
}

impl Settings {
    fn of(config: &Config) -> Self {
        let storage = &config.storage;
        Self {
            hostname: config.service.hostname.clone(),
            port: config.service.port,
            service_did: config.service.did.as_str().to_owned(),
            handle_domains: config.handles.domains.clone(),
            sign_up: match config.sign_up {
                SignUp::Open => "open",
                SignUp::Invite { .. } => "invite",
                SignUp::Closed => "closed",
            },
            data_directory: storage.data_directory.display().to_string(),
            account_db: storage.account_db.display().to_string(),
            sequencer_db: storage.sequencer_db.display().to_string(),
            did_cache_db: storage.did_cache_db.display().to_string(),
            actors: storage.actors.display().to_string(),
            blobs: storage.blobs.to_string(),
            plc: config.identity.plc_url.to_string(),
            crawlers: config.crawlers.iter().map(ToString::to_string).collect(),
            rate_limits: match (&config.rate_limits, &config.redis) {
                (None, _) => "none".to_owned(),
                (Some(_), None) => "counted in memory".to_owned(),
                (Some(_), Some(redis)) => format!("counted in Redis at {redis}"),
            },
            edge: config.edge.as_ref().map(|edge| edge.url.to_string()),
        }
    }

    fn print(&self, output: &mut impl Write) -> io::Result<()> {
        let port = if self.port == 0 { "chosen by the system".to_owned() } else { self.port.to_string() };
        let some = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let rows = [
            ("hostname", self.hostname.as_str()),
            ("port", &port),
            ("service DID", &self.service_did),
            ("handle domains", &some(&self.handle_domains)),
            ("sign-up", self.sign_up),
            ("data directory", &self.data_directory),
            ("accounts", &self.account_db),
            ("sequence", &self.sequencer_db),
            ("DID cache", &self.did_cache_db),
            ("actor stores", &self.actors),
            ("blobs", &self.blobs),
            ("PLC directory", &self.plc),
            ("crawlers", &some(&self.crawlers)),
            ("rate limits", &self.rate_limits),
            ("edge", self.edge.as_deref().unwrap_or("none")),
        ];
        for (name, value) in rows {
            writeln!(output, "{name:<16}{value}")?;
        }
        Ok(())
    }
}
