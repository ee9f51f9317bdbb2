//! The route table against the methods that have types.

use std::collections::HashSet;

use shared::api::METHODS;
use shared::lexicon::Catalog;

use super::*;
use crate::config::Config;

#[test]
fn every_line_of_the_table_is_a_method_of_its_schema_and_stands_there_once() {
    let catalog = Catalog::with_methods();
    let directory = tempfile::tempdir().unwrap();
    let config = Config::from_variables([("PDS_DATA_DIRECTORY", directory.path())]).unwrap();
    let both = [false, true].map(|has_entryway| table(&config.limits, true, has_entryway));
    assert_eq!(both[0].len(), both[1].len());
    let mut seen = HashSet::new();
    for (nth, Route { method, input, .. }) in
        both.into_iter().enumerate().flat_map(|(nth, routes)| routes.into_iter().map(move |route| (nth, route)))
    {
        assert!(seen.insert((nth, method.nsid)), "{} stands there twice", method.nsid);
        assert!(METHODS.contains(&method), "{method:?} is not among the methods that have types");
        let schema = catalog.method(method.nsid).unwrap_or_else(|| panic!("{} has no schema", method.nsid));
        assert_eq!(method.kind, schema.kind, "{}", method.nsid);
        let encoding = schema.input.as_ref().map(|body| body.encoding.as_str());
        assert_eq!(input, encoding, "{}", method.nsid);
    }
}
