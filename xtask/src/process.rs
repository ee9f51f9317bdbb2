//! Running other programs: loudly, quietly with a log, or as children that end when this program does.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A command run from the root of the checkout.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(crate::environment::root()).stdin(Stdio::null());
    command
}

/// Runs `command`, its output shown as it comes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().with_context(|| format!("{} cannot be started", line(command)))?;
    if status.success() { Ok(()) } else { bail!("`{}` ended with {status}", line(command)) }
}

/// Runs `command` and hands each line of its standard output to `each` besides showing it.
pub(crate) fn run_with_lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<()> {
    eprintln!("$ {}", line(command));
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("{} cannot be started", line(command)))?;
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output).split(b'\n') {
            let text = text?;
            let text = String::from_utf8_lossy(&text);
            println!("{text}");
            each(&text);
        }
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { bail!("`{}` ended with {status}", line(command)) }
}

/// Runs `command` for an install: what it says goes to the terminal if there is one, else to the file `log`, whose end is
/// part of the error. Ends it after `limit`.
pub(crate) fn install(command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    if !std::io::stderr().is_terminal() {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdout(file.try_clone()?).stderr(file);
    }
    let mut child = command.spawn().with_context(|| format!("{} cannot be started", line(command)))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{}` took more than {} s", line(command), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().rev().take(15).collect();
    bail!("`{}` ended with {status}\n{}", line(command), last.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// The standard output of `command`, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::piped()).output().with_context(|| format!("{} cannot be started", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`{}` ended with {}: {said}", line(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether `command` can be run and ends well; it says nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A program that runs beside this one and ends with it: when this is dropped, and when this process dies in any way.
///
/// It is held by a pipe, which closes in both cases.
#[derive(Debug)]
pub(crate) struct Leashed {
    name: &'static str,
    child: Child,
    leash: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// Who reads the pipe to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leash {
    /// The program: it ends when its standard input does.
    Itself,
    /// A watcher that a shell leaves behind before it becomes the program; it signals the program to stop.
    Watcher,
}

/// Descriptor 3 is the pipe: a shell gives its background commands an empty standard input.
const WATCHED: &str = "exec 3<&0; { cat <&3 >/dev/null; kill -TERM $$ 2>/dev/null; } >/dev/null & \
                       exec \"$@\" 3<&- </dev/null";

/// How long a program may take to stop once told to; the origin takes five seconds at most.
const STOP_LIMIT: Duration = Duration::from_secs(8);

impl Leashed {
    /// Starts `program`; each line it prints is shown with `name` before it.
    pub(crate) fn start(name: &'static str, mut program: Command, leash: Leash) -> Result<Self> {
        if leash == Leash::Watcher {
            program = watched(&program);
        }
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let leash = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        let output = child.stdout.take().context("standard output is a pipe")?;
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                println!("{name:>6} | {line}");
                // Nobody may be waiting for lines any more.
                let _received = sender.send(line);
            }
        });
        Ok(Self { name, child, leash, lines })
    }

    /// Waits until the program prints a line with `text` in it, for `limit` at most.
    pub(crate) fn wait_for_line(&self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return Ok(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("{} ended before it was ready", self.name),
                Err(RecvTimeoutError::Timeout) => bail!("{} was not ready in {} s", self.name, limit.as_secs()),
            }
        }
    }

    /// An error once the program has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended with {status}", self.name),
            None => Ok(()),
        }
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        self.leash.take();
        let started = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if started.elapsed() > STOP_LIMIT {
                // Nothing is left to do when this fails.
                let _killed = self.child.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn watched(program: &Command) -> Command {
    let mut shell = command("sh");
    shell.args(["-c", WATCHED, "sh"]).arg(program.get_program()).args(program.get_args());
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn is_alive(pid: u32) -> bool {
        succeeds(command("kill").args(["-0", &pid.to_string()]))
    }

    #[test]
    fn a_leashed_program_ends_when_its_handle_is_dropped() {
        let mut program = command("sh");
        program.args(["-c", "echo ready; exec sleep 600"]);
        let sleeper = Leashed::start("sleep", program, Leash::Watcher).unwrap();
        sleeper.wait_for_line("ready", Duration::from_secs(10)).unwrap();
        let pid = sleeper.child.id();
        assert!(is_alive(pid));
        drop(sleeper);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_leashed_program_ends_when_its_holder_is_killed() {
        // A shell holds the pipe's other end, in the place of this process, and is killed.
        let script = "mkfifo \"$0\"; sh -c \"$1\" sh sh -c 'echo $$; exec sleep 600' <\"$0\" & exec 9>\"$0\"; wait";
        let directory = tempfile::tempdir().unwrap();
        let mut holder = command("sh")
            .args(["-c", script])
            .args([directory.path().join("pipe").as_os_str(), OsStr::new(WATCHED)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let pid = pid.trim().parse().unwrap();
        assert!(is_alive(pid));
        holder.kill().unwrap();
        holder.wait().unwrap();
        let started = Instant::now();
        while is_alive(pid) {
            assert!(started.elapsed() < Duration::from_secs(10), "process {pid} was left behind");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_program_that_ends_before_it_is_ready_is_reported() {
        let gone = Leashed::start("true", command("true"), Leash::Watcher).unwrap();
        let error = gone.wait_for_line("ready", Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "true ended before it was ready");
    }

    #[test]
    fn an_install_that_takes_too_long_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let slow = install(command("sleep").arg("600"), &directory.path().join("log"), Duration::from_millis(50));
        assert!(slow.unwrap_err().to_string().contains("took more than"), "a limit that did not hold");
    }
}
