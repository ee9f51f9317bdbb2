//! Identifiers and string formats: one list of valid and one of invalid spellings each.

use std::str::FromStr;

use shared::lexicon::Format;
use shared::syntax::{
    AtIdentifier, AtUri, Datetime, Did, Handle, Language, Nsid, RecordKey, Rule, SyntaxError, Tid, Uri, is_cid_string,
};

use crate::official;
use crate::report::{Group, Verdict, same};

/// Says whether a text is valid; `Err` when the product contradicts itself about it.
type Judge = fn(&str) -> Result<bool, String>;

/// A list's name, its format in lexicons, who judges its lines, and how many there are of the valid and the invalid.
const LISTS: [(&str, Format, Judge, usize, usize); 11] = [
    ("atidentifier", Format::AtIdentifier, judge::<AtIdentifier>, 11, 22),
    ("aturi", Format::AtUri, judge::<AtUri>, 23, 72),
    ("cid", Format::Cid, |text| Ok(is_cid_string(text)), 8, 10),
    ("datetime", Format::Datetime, judge::<Datetime>, 35, 45),
    ("did", Format::Did, judge::<Did>, 24, 18),
    ("handle", Format::Handle, judge::<Handle>, 71, 48),
    ("language", Format::Language, judge::<Language>, 18, 7),
    ("nsid", Format::Nsid, judge::<Nsid>, 25, 27),
    ("recordkey", Format::RecordKey, judge::<RecordKey>, 16, 11),
    ("tid", Format::Tid, judge::<Tid>, 4, 9),
    ("uri", Format::Uri, judge::<Uri>, 9, 12),
];

pub(crate) fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    for (name, format, judge, valid, invalid) in LISTS {
        for (kind, expected, count) in [("valid", true, valid), ("invalid", false, invalid)] {
            groups.push(official::lines(&format!("syntax/{name}_syntax_{kind}.txt"), count, |group, line| {
                group.case(
                    line,
                    judge(line)
                        .and_then(|found| verdict(found, expected))
                        .and_then(|()| same(&format.matches(line), &expected)),
                );
            }));
        }
    }
    groups.push(official::lines("syntax/datetime_parse_invalid.txt", 7, |group, line| {
        group.case(line, no_such_moment(line));
    }));
    groups.push(official::lines("syntax/language_parse_invalid.txt", 4, |group, line| {
        group.case(line, well_formed_with_a_repeat(line));
    }));

    // Two invalid spellings stand in the lists where they read as comments.
    let mut comments = Group::new("syntax, spellings that the lists lose as comments", 2);
    for (line, judge) in [("#at://did:plc:asdf123", judge::<AtUri> as Judge), ("#extra", judge::<RecordKey>)] {
        comments.case(line, judge(line).and_then(|found| verdict(found, false)));
    }
    groups.push(comments);
    groups
}

fn verdict(found: bool, expected: bool) -> Verdict {
    match (found, expected) {
        (true, false) => Err("accepted".to_owned()),
        (false, true) => Err("refused".to_owned()),
        _ => Ok(()),
    }
}

/// Whether `text` is a `T`; what parses must keep its text but for the case of letters, and parse to itself.
fn judge<T: FromStr<Err = SyntaxError> + AsRef<str> + PartialEq>(text: &str) -> Result<bool, String> {
    let Ok(value) = text.parse::<T>() else { return Ok(false) };
    let kept = value.as_ref();
    if !kept.eq_ignore_ascii_case(text) || kept.parse::<T>().as_ref() != Ok(&value) {
        return Err(format!("becomes {kept:?}"));
    }
    Ok(true)
}

/// Refused by the calendar, not for its form.
fn no_such_moment(text: &str) -> Verdict {
    match Datetime::parse(text).map_err(|error| error.rule) {
        Err(Rule::Moment(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Well-formed, and so a language, but not one that a record may hold.
fn well_formed_with_a_repeat(text: &str) -> Verdict {
    same(&Language::parse(text).map(|language| language.repeats_subtag()), &Ok(true))?;
    same(&Format::Language.matches(text), &false)
}
