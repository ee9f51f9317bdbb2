//! Records held against lexicons, and what is said of those that do not fit.

use proptest::prelude::*;

use super::builtin::{METHODS, RECORDS};
use super::*;
use crate::cid::Cid;
use crate::data::{Map, Value, json};
use crate::syntax::{Nsid, RecordKey};
use crate::xrpc::MethodKind;

const TID: &str = "3kznmn7xqxl22";

fn value(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap()
}

fn doc(text: &str) -> Result<LexiconDoc, SchemaError> {
    LexiconDoc::parse(text.as_bytes())
}

/// A document of one definition, `main`.
fn main_def(def: &str) -> Result<LexiconDoc, SchemaError> {
    doc(&format!(r#"{{"lexicon":1,"id":"com.example.thing","defs":{{"main":{def}}}}}"#))
}

/// What is wrong with `found` as a field of the schema `field`, or nothing.
fn verdict(field: &str, found: &str) -> String {
    let object = format!(r#"{{"type":"object","properties":{{"x":{field}}}}}"#);
    let catalog = example(&object);
    let Some(Def::Data(schema)) = catalog.def("com.example.thing") else { panic!("{object}") };
    match catalog.validate(schema, &value(&format!(r#"{{"x":{found}}}"#))) {
        Ok(()) => String::new(),
        Err(invalid) => invalid.to_string(),
    }
}

/// A catalog with `main` and a few definitions to refer to.
fn example(main: &str) -> Catalog {
    let mut catalog = Catalog::new();
    catalog.add(main_def(main).unwrap());
    let defs = r##"{"lexicon":1,"id":"com.example.defs","defs":{
        "main":{"type":"object","required":["a"],"properties":{"a":{"type":"integer"}}},
        "list":{"type":"array","items":{"type":"ref","ref":"#main"}},
        "tree":{"type":"object","properties":{"kids":{"type":"array","items":{"type":"ref","ref":"#tree"}}}},
        "red":{"type":"token"}}}"##;
    catalog.add(doc(defs).unwrap());
    catalog
}

fn check(collection: &str, rkey: &str, record: &str) -> String {
    let (collection, rkey) = (Nsid::parse(collection).unwrap(), RecordKey::parse(rkey).unwrap());
    match Catalog::builtin().validate_record(&collection, &rkey, &value(record)) {
        Ok(()) => String::new(),
        Err(error) => error.within([Segment::from("record")]).to_string(),
    }
}

#[test]
fn every_embedded_document_parses_and_every_reference_in_it_leads_somewhere() {
    let mut defs = 0;
    for list in RECORDS.iter().chain(&METHODS) {
        for doc in value(list).as_array().unwrap() {
            defs += LexiconDoc::from_value(doc).unwrap().defs.len();
        }
    }
    // No definition is embedded twice.
    assert_eq!(Catalog::with_methods().defs().count(), defs);
    assert_eq!(Catalog::builtin().unresolved(), <[&Reference; 0]>::default());
    assert_eq!(Catalog::with_methods().unresolved(), <[&Reference; 0]>::default());
}

#[test]
fn the_record_types_are_those_that_the_reference_server_knows() {
    let catalog = Catalog::builtin();
    let mut known = [(); 4].map(|()| Vec::new());
    for (name, def) in catalog.defs() {
        let Def::Record(record) = def else { continue };
        let kind = match &record.key {
            KeyType::Tid => 0,
            KeyType::Literal(key) if key.as_str() == "self" => 1,
            KeyType::Any => 2,
            KeyType::Nsid | KeyType::Literal(_) => 3,
        };
        known[kind].push(name.as_str());
    }
    assert_eq!(
        known[0],
        [
            "app.bsky.feed.like",
            "app.bsky.feed.post",
            "app.bsky.feed.postgate",
            "app.bsky.feed.repost",
            "app.bsky.feed.threadgate",
            "app.bsky.graph.block",
            "app.bsky.graph.follow",
            "app.bsky.graph.list",
            "app.bsky.graph.listblock",
            "app.bsky.graph.listitem",
            "app.bsky.graph.referencelistoptout",
            "app.bsky.graph.starterpack",
            "app.bsky.graph.verification",
            "site.standard.document",
            "site.standard.graph.recommend",
            "site.standard.graph.subscription",
            "site.standard.publication",
            "site.standard.theme.basic",
        ]
    );
    assert_eq!(
        known[1],
        [
            "app.bsky.actor.contentVisibilityDeclaration",
            "app.bsky.actor.profile",
            "app.bsky.actor.status",
            "app.bsky.labeler.service",
            "app.bsky.notification.declaration",
            "chat.bsky.actor.declaration",
            "com.germnetwork.declaration",
        ]
    );
    assert_eq!(known[2], ["app.bsky.feed.generator"]);
    assert_eq!(known[3], ["com.atproto.lexicon.schema"]);
    assert!(catalog.knows_record("app.bsky.feed.post"));
    assert!(
        !catalog.knows_record("app.bsky.feed.post#replyRef") && !catalog.knows_record("com.atproto.repo.strongRef")
    );
}

#[test]
fn a_post_with_everything_is_valid_and_a_fault_deep_inside_is_named_with_its_place() {
    let link = "bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq";
    let post = format!(
        r##"{{"$type":"app.bsky.feed.post","text":"hé","createdAt":"2024-06-01T12:00:00Z","langs":["en"],"extra":[null],
        "facets":[{{"index":{{"byteStart":0,"byteEnd":3}},"features":[
            {{"$type":"app.bsky.richtext.facet#link","uri":"https://example.com"}},{{"$type":"com.example.new"}}]}}],
        "embed":{{"$type":"app.bsky.embed.images","images":[{{"alt":"","image":
            {{"$type":"blob","ref":{{"$link":"{link}"}},"mimeType":"image/png","size":2000000}}}}]}}}}"##
    );
    assert_eq!(check("app.bsky.feed.post", TID, &post), "");
    let large = post.replace("2000000", "2000001");
    assert_eq!(
        check("app.bsky.feed.post", TID, &large),
        "Invalid app.bsky.feed.post record: blob too big (maximum 2000000, got 2000001) \
         at $.record.embed.images[0].image"
    );
    let video = post.replace("image/png", "video/mp4");
    assert_eq!(
        check("app.bsky.feed.post", TID, &video),
        "Invalid app.bsky.feed.post record: Expected \"image/*\" (got \"video/mp4\") \
         at $.record.embed.images[0].image.mimeType"
    );
    let facet = post.replace("https://example.com", "example.com");
    assert_eq!(
        check("app.bsky.feed.post", TID, &facet),
        "Invalid app.bsky.feed.post record: Invalid uri (got \"example.com\") at $.record.facets[0].features[0].uri"
    );
}

#[test]
fn a_record_needs_a_known_type_the_right_key_and_its_own_type_name() {
    let like = r#"{"$type":"app.bsky.feed.like"}"#;
    assert_eq!(check("com.example.thing", TID, like), "Unknown lexicon type: com.example.thing");
    assert_eq!(
        check("app.bsky.feed.like", "self", like),
        "Invalid record key for app.bsky.feed.like: Invalid TID string (got \"self\") at $"
    );
    assert_eq!(
        check("app.bsky.actor.profile", TID, "{}"),
        "Invalid record key for app.bsky.actor.profile: Expected \"self\" (got \"3kznmn7xqxl22\") at $"
    );
    assert_eq!(
        check("app.bsky.feed.like", TID, like),
        "Invalid app.bsky.feed.like record: Missing required key \"subject\" at $.record"
    );
    assert_eq!(
        check("app.bsky.actor.profile", "self", "{}"),
        "Invalid app.bsky.actor.profile record: Expected \"app.bsky.actor.profile\" (got undefined) at $.record.$type"
    );
    for (rkey, verdict) in [
        ("com.example.thing", ""),
        ("a.b", "Invalid record key for com.atproto.lexicon.schema: Invalid NSID (got \"a.b\") at $"),
    ] {
        assert_eq!(
            check("com.atproto.lexicon.schema", rkey, r#"{"$type":"com.atproto.lexicon.schema","lexicon":1}"#),
            verdict
        );
    }
}

#[test]
fn each_type_takes_its_own_values_and_says_what_is_wrong_with_others() {
    let text = |found: &str| verdict(r#"{"type":"string","minLength":2,"maxLength":4}"#, found);
    assert_eq!(text(r#""é""#), "");
    assert_eq!(text(r#""e""#), "string too small (minimum 2, got 1) at $.x");
    assert_eq!(text(r#""éée""#), "string too big (maximum 4, got 5) at $.x");
    assert_eq!(text("null"), "Expected string value type (got null) at $.x");

    let graphemes = |found: &str| verdict(r#"{"type":"string","minGraphemes":2,"maxGraphemes":2}"#, found);
    assert_eq!(graphemes(r#""\r\nb""#), "");
    assert_eq!(graphemes(r#""👩‍👩‍👦‍👦🇩🇪""#), "");
    assert_eq!(graphemes(r#""👩‍👩‍👦‍👦""#), "grapheme too small (minimum 2, got 1) at $.x");
    assert_eq!(graphemes(r#""e\u0301e\u0301e\u0301""#), "grapheme too big (maximum 2, got 3) at $.x");

    let one = |found: &str| verdict(r#"{"type":"string","enum":["a","b"]}"#, found);
    assert_eq!([one(r#""b""#), one(r#""c""#)], ["", r#"Expected one of "a" or "b" (got "c") at $.x"#]);
    let integer = |found: &str| verdict(r#"{"type":"integer","minimum":-1,"maximum":1}"#, found);
    assert_eq!([integer("-1"), integer("1")], ["", ""]);
    assert_eq!(integer("2"), "integer too big (maximum 1, got 2) at $.x");
    assert_eq!(integer("-2"), "integer too small (minimum -1, got -2) at $.x");
    assert_eq!(verdict(r#"{"type":"integer","const":4,"enum":[3,4]}"#, "3"), "Expected 4 (got 3) at $.x");
    assert_eq!(verdict(r#"{"type":"boolean","const":true}"#, "false"), "Expected true (got false) at $.x");
    assert_eq!(
        verdict(r#"{"type":"bytes","maxLength":1}"#, r#"{"$bytes":"AAA"}"#),
        "bytes too big (maximum 1, got 2) at $.x"
    );
    assert_eq!(verdict(r#"{"type":"cid-link"}"#, "1"), "Expected cid value type (got 1) at $.x");
    assert_eq!(verdict(r#"{"type":"null"}"#, "{}"), "Expected null value type (got {}) at $.x");
    let list = |found: &str| verdict(r#"{"type":"array","items":{"type":"boolean"},"maxLength":1}"#, found);
    assert_eq!(list("[true,1]"), "array too big (maximum 1, got 2) at $.x");
    assert_eq!(list("[1]"), "Expected boolean value type (got 1) at $.x[0]");
    let link = "bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq";
    let blob = &format!(r#"{{"$type":"blob","ref":{{"$link":"{link}"}},"mimeType":"a/b","size":1}}"#);
    assert_eq!(verdict(r#"{"type":"unknown"}"#, r#"{"$type":"x"}"#), "");
    assert_eq!(
        verdict(r#"{"type":"unknown"}"#, blob),
        r#"Expected object value type (got {"ref": ..., "size": ..., ...}) at $.x"#
    );
    for (accept, sound) in [
        ("[]", true),
        (r#"["*/*"]"#, true),
        (r#"["a/*"]"#, true),
        (r#"["c/d","a/b"]"#, true),
        (r#"["a/","a/bc"]"#, false),
    ] {
        assert_eq!(verdict(&format!(r#"{{"type":"blob","accept":{accept}}}"#), blob).is_empty(), sound, "{accept}");
    }
}

#[test]
fn every_format_of_the_language_is_known_by_its_name_and_checked() {
    for name in
        ["at-identifier", "at-uri", "cid", "datetime", "did", "handle", "language", "nsid", "record-key", "tid", "uri"]
    {
        let format = Format::from_name(name).unwrap();
        assert_eq!(format.name(), name);
        assert!(!format.matches(" "), "{name}");
        let refused = verdict(&format!(r#"{{"type":"string","format":"{name}"}}"#), r#"" ""#);
        assert!(refused.starts_with("Invalid ") && refused.ends_with(r#"(got " ") at $.x"#), "{refused}");
    }
    assert_eq!(Format::from_name("uuid"), None);
}

#[test]
fn a_field_is_null_only_if_it_may_be_and_missing_only_if_it_need_not_be_there() {
    let schema = r#"{"type":"object","required":["b"],"nullable":["b"],
        "properties":{"b":{"type":"string"},"aa":{"type":"string"}}}"#;
    assert_eq!(verdict(schema, r#"{"b":null,"a":1,"c":1,"zz":1}"#), "");
    assert_eq!(verdict(schema, r#"{"b":"","aa":null}"#), "Expected string value type (got null) at $.x.aa");
    assert_eq!(verdict(schema, r#"{"a":1,"aa":"","c":1}"#), "Missing required key \"b\" at $.x");
}

#[test]
fn references_and_unions_hold_a_value_to_what_it_claims_to_be() {
    let reference =
        |target: &str, found: &str| verdict(&format!(r#"{{"type":"ref","ref":"com.example.defs{target}"}}"#), found);
    assert_eq!(reference("", r#"{"a":1}"#), "");
    assert_eq!(reference("#main", r#"{"a":1,"$type":"com.example.defs"}"#), "");
    assert_eq!(reference("", r#"{"a":1,"$type":"x"}"#), r#"Expected "com.example.defs" (got "x") at $.x.$type"#);
    assert_eq!(reference("#list", r#"[{"a":1},{}]"#), "Missing required key \"a\" at $.x[1]");
    assert_eq!(reference("#tree", r#"{"kids":[{"kids":[{}]}]}"#), "");
    assert_eq!(
        reference("#tree", r#"{"kids":[{"kids":[1]}]}"#),
        "Expected object value type (got 1) at $.x.kids[0].kids[0]"
    );
    assert_eq!(reference("#red", r#""com.example.defs#red""#), "");
    assert_eq!(reference("#red", r#""red""#), r#"Expected "com.example.defs#red" (got "red") at $.x"#);
    assert_eq!(reference("#gone", "1"), "Unresolved lexicon reference com.example.defs#gone at $.x");

    let union = |closed: bool, found: &str| {
        verdict(
            &format!(r#"{{"type":"union","closed":{closed},"refs":["com.example.defs","com.example.defs#tree"]}}"#),
            found,
        )
    };
    for closed in [true, false] {
        assert_eq!(union(closed, r#"{"$type":"com.example.defs","a":1}"#), "");
        assert_eq!(union(closed, r#"{"$type":"com.example.defs"}"#), "Missing required key \"a\" at $.x");
        assert!(union(closed, r#"{"a":1}"#).starts_with("Expected an object which includes the \"$type\" property"));
        assert!(union(closed, r#"{"$type":"com.example.defs#main","a":1}"#).ends_with("at $.x.$type"));
    }
    assert_eq!(union(false, r#"{"$type":"com.example.other"}"#), "");
    assert_eq!(
        union(true, r#"{"$type":"com.example.other"}"#),
        r#"Expected one of "com.example.defs" or "com.example.defs#tree" (got "com.example.other") at $.x.$type"#
    );
}

#[test]
fn a_document_with_a_fault_is_refused_with_its_place() {
    let field = |schema: &str| {
        main_def(&format!(r#"{{"type":"object","properties":{{"x":{schema}}}}}"#)).unwrap_err().to_string()
    };
    let at = "at $.defs.main.properties.x";
    for (schema, fault) in [
        ("1", format!("not an object {at}")),
        ("{}", format!("missing field type {at}")),
        (r#"{"type":"float"}"#, format!("unknown type \"float\" {at}")),
        (r#"{"type":"token"}"#, format!("type \"token\" cannot stand here {at}")),
        (r#"{"type":"string","format":"uuid"}"#, format!("unknown format \"uuid\" {at}.format")),
        (r#"{"type":"string","minLength":-1}"#, format!("not a length {at}.minLength")),
        (r#"{"type":"string","minLength":2,"maxLength":1}"#, format!("minimum is 2, maximum 1 {at}")),
        (r#"{"type":"string","enum":[]}"#, format!("list of allowed values is empty {at}")),
        (r#"{"type":"string","enum":["a",1]}"#, format!("not a string {at}.enum[1]")),
        (r#"{"type":"string","enum":["a"],"default":"b"}"#, format!("default is not an allowed value {at}")),
        (r#"{"type":"integer","maximum":1,"default":2}"#, format!("default is not an allowed value {at}")),
        (r#"{"type":"integer","const":1,"enum":[2]}"#, format!("const is not an allowed value {at}")),
        (r#"{"type":"boolean","const":true,"default":false}"#, format!("default is not an allowed value {at}")),
        (r#"{"type":"array"}"#, format!("missing field items {at}")),
        (r#"{"type":"object"}"#, format!("missing field properties {at}")),
        (
            r#"{"type":"object","required":["y"],"properties":{}}"#,
            format!("property \"y\" is not defined {at}.required[0]"),
        ),
        (r#"{"type":"ref","ref":"com.example"}"#, format!("malformed name \"com.example\" {at}.ref")),
        (r##"{"type":"union","refs":["#a","#b c"]}"##, format!("malformed name \"#b c\" {at}.refs[1]")),
    ] {
        assert_eq!(field(schema), fault, "{schema}");
    }
    let record = |key: &str| {
        main_def(&format!(r#"{{"type":"record","key":"{key}","record":{{"type":"object","properties":{{}}}}}}"#))
    };
    for key in ["tid", "nsid", "any", "literal:self", "literal:literal:x"] {
        assert!(record(key).is_ok(), "{key}");
    }
    for key in ["", "uuid", "literal:", "literal:a/b"] {
        assert_eq!(record(key).unwrap_err().kind, SchemaFault::UnknownKey(key.to_owned()));
    }
    let method = |fields: &str| main_def(&format!(r#"{{"type":"procedure",{fields}}}"#)).unwrap_err().to_string();
    assert_eq!(
        method(r#""input":{"encoding":"a/b;c"}"#),
        "encoding \"a/b;c\" is not one media type at $.defs.main.input.encoding"
    );
    assert_eq!(
        method(r#""parameters":{"type":"params","properties":{"a":{"type":"cid-link"}}}"#),
        "not a scalar or a list of scalars at $.defs.main.parameters.properties.a"
    );
    assert_eq!(method(r#""errors":[{"name":""}]"#), "not a non-empty string at $.defs.main.errors[0].name");
    assert!(doc(r#"{"lexicon":2,"id":"a.b.c","defs":{}}"#).unwrap_err().to_string().contains("lexicon version is 2"));
    assert!(matches!(doc("{").unwrap_err().kind, SchemaFault::Json(_)));
    assert_eq!(
        doc(r#"{"lexicon":1,"id":"a.b.c","defs":{"a b":{"type":"token"}}}"#).unwrap_err().kind,
        SchemaFault::Name("a b".to_owned())
    );
}

#[test]
fn a_permission_set_keeps_what_a_consent_screen_shows_and_what_it_grants() {
    let def = r#"{"type":"permission-set","title":"T","title:lang":{"fr":"F"},
        "permissions":[{"type":"permission","resource":"rpc","lxm":["a.b.c"],"inheritAud":true}]}"#;
    let doc = main_def(def).unwrap();
    let [(name, Def::PermissionSet(set))] = doc.defs.as_slice() else { panic!("{doc:?}") };
    assert_eq!((name.as_str(), set.title.as_deref(), set.detail.as_deref()), ("com.example.thing", Some("T"), None));
    assert_eq!(set.title_lang.get("fr"), Some(&"F".into()));
    assert_eq!(set.permissions[0].resource, "rpc");
    assert_eq!(set.permissions[0].fields.get("inheritAud"), Some(&true.into()));
    for bad in [def.replace("\"fr\"", "\"1\""), def.replace("true", "{}"), def.replace("\"rpc\"", "\"\"")] {
        assert!(main_def(&bad).is_err(), "{bad}");
    }
}

#[test]
fn an_operators_document_stands_in_place_of_a_built_in_one() {
    let mut catalog = Catalog::builtin();
    let lists = r#"{"lexicon":1,"id":"app.bsky.graph.list","defs":{"main":{"type":"record","key":"any","record":
        {"type":"object","properties":{
            "a":{"type":"ref","ref":"com.example.gone#a"},"b":{"type":"ref","ref":"com.example.gone#a"}}}}}}"#;
    catalog.add(doc(lists).unwrap());
    assert_eq!(catalog.record("app.bsky.graph.list").unwrap().key, KeyType::Any);
    let missing: Vec<&str> = catalog.unresolved().into_iter().map(Reference::as_str).collect();
    assert_eq!(missing, ["com.example.gone#a"]);
}

#[test]
fn the_bodies_and_parameters_of_methods_can_be_checked() {
    let catalog = Catalog::with_methods();
    let method = catalog.method("com.atproto.repo.applyWrites").unwrap();
    assert_eq!((method.kind, method.errors.as_slice()), (MethodKind::Procedure, ["InvalidSwap".to_owned()].as_slice()));
    let input = method.input.as_ref().unwrap();
    assert_eq!(input.encoding, "application/json");
    let schema = input.schema.as_ref().unwrap();
    let batch = |kind: &str| {
        value(&format!(
            r#"{{"repo":"did:web:a.com","writes":[
                {{"$type":"com.atproto.repo.applyWrites#{kind}","collection":"a.b.c","rkey":"x"}}]}}"#
        ))
    };
    assert_eq!(catalog.validate(schema, &batch("delete")), Ok(()));
    let missing = catalog.validate(schema, &batch("create")).unwrap_err();
    assert_eq!(missing.to_string(), "Missing required key \"value\" at $.writes[0]");
    assert!(catalog.validate(schema, &batch("swap")).is_err());
    let query = catalog.method("com.atproto.sync.getBlocks").unwrap();
    let parameters = query.parameters.as_ref().unwrap();
    assert!(catalog.validate(parameters, &value(r#"{"did":"did:web:a.com","cids":["x"]}"#)).is_err());
    assert_eq!(catalog.method("com.atproto.sync.subscribeRepos").unwrap().kind, MethodKind::Subscription);
    assert_eq!(catalog.method("com.atproto.repo.strongRef"), None);
}

/// Keys, type names and texts that occur in schemas, so that arbitrary values reach deep into them.
fn words() -> Vec<String> {
    let mut words: Vec<String> =
        ["$type", "blob", "ref", "mimeType", "size", "image/png", "did:web:a.com", "https://a.com"]
            .iter()
            .map(ToString::to_string)
            .collect();
    for list in &RECORDS {
        collect(&value(list), &mut words);
    }
    words.extend(Catalog::builtin().defs().map(|(name, _)| name.to_string()));
    words.sort_unstable();
    words.dedup();
    words
}

fn collect(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::String(text) => words.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, words)),
        Value::Map(map) => map.iter().for_each(|(key, value)| {
            words.push(key.to_owned());
            collect(value, words);
        }),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![4 => prop::sample::select(words()), 1 => any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (0..9i64).prop_map(Value::Int),
        word.clone().prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        Just(Value::Link(Cid::of_raw(b""))),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let field = (word.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            prop::collection::vec(field, 0..8).prop_map(|fields| Value::Map(fields.into_iter().collect())),
        ]
    })
}

/// Follows a path; the last step may lead to what is missing.
fn leads_somewhere(mut value: &Value, path: &Path) -> bool {
    let mut segments = path.segments();
    while let Some(segment) = segments.next() {
        let next = match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(at) => value.as_array().and_then(|items| items.get(*at)),
        };
        match next {
            Some(inner) => value = inner,
            None => return segments.len() == 0,
        }
    }
    true
}

fn any_fields() -> impl Strategy<Value = Map> {
    let fields = prop::collection::vec((prop::sample::select(words()), any_value()), 0..8);
    fields.prop_map(|fields| fields.into_iter().collect())
}

#[test]
fn a_document_of_very_many_fields_is_read_in_proportion_to_its_length() {
    // Comparing each of these names with each takes a minute.
    let fields = |each: fn(u32) -> String| (0..30_000).map(each).collect::<Vec<_>>().join(",");
    let properties = fields(|n| format!(r#""{n:05}":{{"type":"null"}}"#));
    let names = fields(|n| format!(r#""{n:05}""#));
    let def = format!(
        r#"{{"type":"object","properties":{{{properties}}},"required":[{names},{names}],"nullable":[{names},"00001"]}}"#
    );
    let doc = main_def(&def).unwrap();
    let Def::Data(Schema::Object(object)) = &doc.defs[0].1 else { panic!("main is an object") };
    assert!(object.properties.iter().all(|property| property.required && property.nullable));
}

proptest! {
    #[test]
    fn validation_of_any_value_ends_with_a_verdict_whose_place_exists(value in any_value(), fields in any_fields()) {
        let catalog = Catalog::builtin();
        let rkeys = ["self", TID, "com.example.thing"].map(|rkey| RecordKey::parse(rkey).unwrap());
        for (name, def) in catalog.defs() {
            if let Def::Data(schema) = def
                && let Err(invalid) = catalog.validate(schema, &value)
            {
                prop_assert!(leads_somewhere(&value, &invalid.path), "{invalid}");
            }
            if !matches!(def, Def::Record(_)) {
                continue;
            }
            let collection = Nsid::parse(name.as_str()).unwrap();
            let mut record = fields.clone();
            record.insert("$type", name.as_str());
            for record in [&Value::Map(record), &value] {
                for verdict in rkeys.iter().map(|rkey| catalog.validate_record(&collection, rkey, record)) {
                    if let Err(LexiconError::Record { invalid, .. }) = verdict {
                        prop_assert!(leads_somewhere(record, &invalid.path), "{invalid}");
                        prop_assert!(invalid.to_string().len() < 4096);
                    }
                }
            }
        }
    }

    #[test]
    fn any_value_as_a_document_is_read_or_refused(defs in any_value(), def in any_fields()) {
        for defs in [defs, [("main", def)].into_iter().collect::<Map>().into()] {
            let id = Value::from("com.example.thing");
            let fields: Map = [("lexicon", 1.into()), ("id", id), ("defs", defs)].into_iter().collect();
            if let Err(error) = LexiconDoc::from_value(&fields.into()) {
                prop_assert!(error.path.segments().len() > 0);
            }
        }
    }
}
