//! Embeds the official vectors, so that the same tests run where there is no file system.
//!
//! They are read from `ATPROTO_INTEROP`, else from `interop` in the folder `shared` beside the workspace. What is not
//! there is recorded as missing, and the tests say so: building never fails for want of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[expect(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=ATPROTO_INTEROP");
    println!("cargo::rerun-if-changed=build.rs");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = workspace.join(variable("ATPROTO_INTEROP").unwrap_or_else(|| "../shared/interop".to_owned()));
    println!("cargo::rerun-if-changed={}", folder.display());

    let embedded = match files(&folder) {
        Ok(files) => {
            let mut list = String::from("Ok(&[\n");
            for (name, path) in files {
                writeln!(list, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
            }
            list + "])"
        }
        Err(error) => format!("Err({:?})", format!("{error}; ATPROTO_INTEROP may name another folder")),
    };
    let out = PathBuf::from(variable("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(out.join("files.rs"), embedded)
}

/// The vectors of `folder` by their names in it, in order: the text and JSON files of its folders.
fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let folder = folder.canonicalize().map_err(|_| io::Error::other(format!("no folder {}", folder.display())))?;
    let mut files = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if path.is_dir() && !hidden {
                folders.push(path);
            } else if next != folder && path.extension().is_some_and(|kind| kind == "txt" || kind == "json") {
                let name = path.strip_prefix(&folder).map_err(io::Error::other)?.to_string_lossy().into_owned();
                files.push((name, path));
            }
        }
    }
    if files.is_empty() {
        return Err(io::Error::other(format!("no vectors in {}", folder.display())));
    }
    files.sort_unstable();
    Ok(files)
}
