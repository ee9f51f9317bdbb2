//! The official vectors and the malformed inputs, judged; and that a case judged wrongly fails.

use std::fs::File;
use std::io::Write as _;

/// The value of `name`, `None` when it is not set or empty.
#[expect(clippy::disallowed_methods, reason = "what skips is told by and reported to whoever runs the tests")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[test]
fn every_vector_and_every_malformed_input_is_judged_right() {
    let report = crate::run();
    println!("{report}");
    let skipped: Vec<String> = report.skipped().map(|(name, reason)| format!("{name}: {reason}")).collect();
    if let Some(path) = variable("HEADWATER_SKIPS") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        skipped.iter().for_each(|line| writeln!(file, "{line}").unwrap());
    }
    assert!(skipped.is_empty() || variable("CI").as_deref() != Some("true"), "with CI=true nothing may be skipped");
    assert_eq!(report.failed(), 0, "the report is above");
}

#[test]
fn a_case_missing_in_excess_or_wrong_fails_its_group() {
    let mut group = crate::Group::new("some", 2);
    assert_eq!(group.failed(), 1);
    group.case("a", Ok(()));
    group.case("b", Err("wrong".to_owned()));
    assert_eq!(group.failed(), 1);
    group.case("c", Ok(()));
    assert_eq!(group.failed(), 2);
    let report = crate::Report { groups: vec![group] };
    assert_eq!((report.ran(), report.passed(), report.failed()), (3, 2, 2));
    assert!(report.to_string().ends_with("vectors: 3 ran, 2 failed\n"));
}
