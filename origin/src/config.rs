//! What the operator decides: read from the environment once, at the start.
//!
//! The names are the reference server's, with its defaults, so that one environment starts either. As there, a variable
//! set to nothing counts as not set. A value that cannot be used is refused, and all such values are reported together.
//! No other file reads the environment.

use std::path::PathBuf;

/// The server's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `PDS_HOSTNAME`: the public name of this server, without scheme or port. Default: `localhost`.
    pub hostname: String,
    /// `PDS_PORT`: the port to listen on, on all interfaces; 0 lets the system choose. Default: 2583.
    pub port: u16,
    /// `PDS_DATA_DIRECTORY`: where everything is kept; made when it is missing. Default: the working directory.
    pub data_directory: PathBuf,
}

/// Everything that is wrong with the environment, one line for each variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment cannot be used: {}", .0.join("; "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Reads the process environment.
    ///
    /// # Errors
    ///
    /// Names every variable whose value cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads variables through `lookup`, which answers `None` for one that is not set.
    ///
    /// # Errors
    ///
    /// Names every variable whose value cannot be used.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let read = |name| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());

        let hostname = read("PDS_HOSTNAME").unwrap_or_else(|| "localhost".to_owned());
        if hostname.contains(['/', ':']) {
            problems.push(format!("PDS_HOSTNAME is \"{hostname}\", not a name without scheme, port and path"));
        }
        let port = match read("PDS_PORT").map(|value| value.parse().map_err(|_| value)) {
            None => 2583,
            Some(Ok(port)) => port,
            Some(Err(value)) => {
                problems.push(format!("PDS_PORT is \"{value}\", not a number from 0 to 65535"));
                0
            }
        };
        let data_directory = PathBuf::from(read("PDS_DATA_DIRECTORY").unwrap_or_else(|| ".".to_owned()));

        if problems.is_empty() { Ok(Self { hostname, port, data_directory }) } else { Err(ConfigError(problems)) }
    }

    /// The address clients use: `https://` and the hostname, or, for `localhost`, plain HTTP on the configured port; where
    /// that is 0, on `listening`, the port the system chose. It never comes from a request.
    #[must_use]
    pub fn public_url(&self, listening: u16) -> String {
        if self.hostname == "localhost" {
            format!("http://localhost:{}", if self.port == 0 { listening } else { self.port })
        } else {
            format!("https://{}", self.hostname)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_lookup(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn an_empty_environment_gives_the_references_defaults() {
        let defaults = Config { hostname: "localhost".to_owned(), port: 2583, data_directory: PathBuf::from(".") };
        assert_eq!(config(&[]).unwrap(), defaults);
        assert_eq!(config(&[("PDS_HOSTNAME", ""), ("PDS_PORT", " "), ("PDS_DATA_DIRECTORY", "")]).unwrap(), defaults);
    }

    #[test]
    fn variables_are_read() {
        let read = config(&[("PDS_HOSTNAME", "pds.example.com"), ("PDS_PORT", "3000"), ("PDS_DATA_DIRECTORY", "/pds")])
            .unwrap();
        assert_eq!((read.hostname.as_str(), read.port), ("pds.example.com", 3000));
        assert_eq!(read.data_directory, PathBuf::from("/pds"));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = config(&[("PDS_HOSTNAME", "https://pds.example.com"), ("PDS_PORT", "70000")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("PDS_HOSTNAME is \"https://pds.example.com\""), "{text}");
        assert!(text.contains("PDS_PORT is \"70000\""), "{text}");
    }

    #[test]
    fn the_public_url_has_a_port_for_localhost_only() {
        assert_eq!(config(&[]).unwrap().public_url(2600), "http://localhost:2583");
        assert_eq!(config(&[("PDS_PORT", "0")]).unwrap().public_url(2600), "http://localhost:2600");
        assert_eq!(config(&[("PDS_HOSTNAME", "pds.example.com")]).unwrap().public_url(3000), "https://pds.example.com");
    }
}
