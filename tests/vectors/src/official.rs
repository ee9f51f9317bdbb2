//! The official files, as they were embedded.

use serde::Deserialize;

use crate::report::Group;

/// Every file by its name, or why there is none.
const FILES: Result<&[(&str, &[u8])], &str> = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The group of the file `name`, whose content `judge` takes apart into `expected` cases.
pub(crate) fn group(name: &str, expected: usize, judge: impl FnOnce(&mut Group, &'static [u8])) -> Group {
    let mut group = Group::new(name, expected);
    match (FILES, get(name)) {
        (Err(reason), _) => group.skipped = Some(reason),
        (Ok(_), None) => group.fail("the collection does not have this file".to_owned()),
        (Ok(_), Some(content)) => judge(&mut group, content),
    }
    group
}

/// The same for a file of JSON; one that is not what `T` says fails as a whole.
pub(crate) fn json<T: Deserialize<'static>>(name: &str, expected: usize, judge: impl FnOnce(&mut Group, T)) -> Group {
    group(name, expected, |group, content| match serde_json::from_slice(content) {
        Ok(cases) => judge(group, cases),
        Err(error) => group.fail(format!("{error}")),
    })
}

/// The same for a list of lines: all but empty ones and comments, never trimmed, since blanks are what some are about.
pub(crate) fn lines(name: &str, expected: usize, judge: impl FnMut(&mut Group, &'static str)) -> Group {
    group(name, expected, |group, content| match std::str::from_utf8(content) {
        Ok(text) => {
            let cases = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
            let mut judge = judge;
            cases.for_each(|line| judge(group, line));
        }
        Err(error) => group.fail(format!("{error}")),
    })
}

/// The file `name`.
pub(crate) fn get(name: &str) -> Option<&'static [u8]> {
    FILES.ok()?.iter().find(|(file, _)| *file == name).map(|(_, content)| *content)
}

/// A group that fails for every file of the collection that no group has read.
pub(crate) fn unread(groups: &[Group]) -> Group {
    let mut unread = Group::new("files that nobody reads", 0);
    for (name, _) in FILES.unwrap_or_default() {
        if groups.iter().all(|group| group.name != *name) {
            unread.fail((*name).to_owned());
        }
    }
    unread
}
