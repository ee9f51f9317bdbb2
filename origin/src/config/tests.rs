//! The environment read: defaults, what is refused and named, what is warned about.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::names::LATER;
use super::*;

/// What a server on the network needs.
const NEEDED: [(&str, &str); 5] = [
    ("PDS_HOSTNAME", "pds.example.com"),
    ("PDS_BLOBSTORE_DISK_LOCATION", "/pds/blocks"),
    ("PDS_JWT_SECRET", "jwt secret "),
    ("PDS_ADMIN_PASSWORD", "password"),
    ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", KEY),
];
const KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";

/// Reads [`NEEDED`] with `more`, which come last.
fn with(more: &[(&str, &str)]) -> (Option<Config>, Variables) {
    let all = NEEDED.iter().filter(|(name, _)| !more.iter().any(|(other, _)| other == name)).chain(more);
    let mut variables = Variables::new(all.map(|(name, value)| ((*name).into(), (*value).into())));
    let config = read(&mut variables, Purpose::Start);
    (config.filter(|_| variables.problems.is_empty()), variables)
}

fn good(more: &[(&str, &str)]) -> Config {
    let (config, variables) = with(more);
    config.unwrap_or_else(|| panic!("{:?}", variables.problems))
}

/// The rotation key, which the server holds.
fn held(config: &Config) -> [u8; 32] {
    match &config.secrets.plc_rotation_key {
        RotationKeyConfig::Held(key) => key.to_bytes(),
        RotationKeyConfig::Kms(kms) => panic!("{kms:?}"),
    }
}

fn problem(more: &[(&str, &str)]) -> String {
    let (config, variables) = with(more);
    assert!(config.is_none(), "{more:?}");
    variables.problems.join("; ")
}

fn local(directory: &Path, more: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = ("PDS_DATA_DIRECTORY", directory.to_str().unwrap());
    Config::from_variables(more.iter().copied().chain([directory]))
}

#[test]
fn the_defaults_are_the_references() {
    let config = good(&[("PDS_PORT", ""), ("PDS_DID_PLC_URL", ""), ("PDS_BLOBSTORE_S3_BUCKET", "")]);
    assert_eq!((config.service.port, config.service.did.as_str()), (2583, "did:web:pds.example.com"));
    assert_eq!(config.service.name, "pds.example.com PDS");
    assert!(config.service.accepts_imports && !config.service.dev_mode && config.network.public_only);
    assert_eq!(config.storage.account_db, Path::new("./account.sqlite"));
    let Blobs::Disk { location, temporary } = &config.storage.blobs else { panic!("elsewhere") };
    assert_eq!((location.as_path(), temporary.as_path()), (Path::new("/pds/blocks"), Path::new("/pds/blocks/tempt")));
    assert_eq!((config.limits.blob, config.limits.import), (5_242_880, 1 << 30));
    assert_eq!((config.limits.subscription_buffer, config.limits.backfill), (500, DAY));
    assert_eq!(config.identity.plc_url.as_str(), "https://plc.directory/");
    assert_eq!((config.identity.cache_stale, config.identity.cache_max), (HOUR, DAY));
    assert_eq!(config.identity.timeout, Duration::from_secs(3));
    assert_eq!(config.handles.domains, [".pds.example.com"]);
    assert_eq!(config.sign_up, SignUp::Invite { interval: None, epoch_millis: 0 });
    assert!(config.rate_limits.is_none() && config.crawlers.is_empty() && config.services.report.is_none());
    assert_eq!(config.secrets.jwt.expose(), "jwt secret ");
    assert_eq!(held(&config)[31], 1);
}

#[test]
fn the_customers_environment_is_read() {
    let config = good(&[
        ("PDS_HOSTNAME", "pds.trainers.gg"),
        ("PDS_DATA_DIRECTORY", "/pds"),
        ("PDS_PORT", "3000"),
        ("PDS_BSKY_APP_VIEW_URL", "https://api.bsky.app"),
        ("PDS_BSKY_APP_VIEW_DID", "did:web:api.bsky.app"),
        ("PDS_REPORT_SERVICE_URL", "https://mod.bsky.app"),
        ("PDS_REPORT_SERVICE_DID", "did:plc:ar7c4by46qjdydhdevvrndac"),
        ("PDS_CRAWLERS", "https://bsky.network, https://relay.example.com,"),
        ("PDS_SERVICE_HANDLE_DOMAINS", ".Trainers.gg"),
        ("PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT", "true"),
        ("PDS_ACTOR_STORE_CACHE_SIZE", "7"),
        ("PDS_INVITE_REQUIRED", "0"),
    ]);
    assert_eq!(config.public_url(3000), "https://pds.trainers.gg");
    assert_eq!(config.storage.actors, Path::new("/pds/actors"));
    assert_eq!((config.storage.open_actors, config.storage.auto_checkpoint), (7, false));
    assert_eq!(config.services.app_view.unwrap().remote.did.as_str(), "did:web:api.bsky.app");
    assert_eq!(config.services.report.unwrap().url.as_str(), "https://mod.bsky.app/");
    assert_eq!(
        config.crawlers.iter().map(Url::as_str).collect::<Vec<_>>(),
        ["https://bsky.network/", "https://relay.example.com/"]
    );
    assert_eq!(config.handles.domains, [".trainers.gg"]);
    assert_eq!(config.sign_up, SignUp::Open);
}

#[test]
fn every_problem_is_reported_at_once() {
    let variables = [
        ("PDS_HOSTNAME", "https://pds.example.com"),
        ("PDS_PORT", "70000"),
        ("PDS_SQLITE_SYNCHRONOUS", "off"),
        ("PDS_SERVICE_HANDLE_DOMAINS", "example.com"),
    ];
    let text = Config::from_variables(variables).unwrap_err().to_string();
    for expected in [
        "PDS_HOSTNAME is \"https://pds.example.com\"",
        "PDS_PORT is 70000, must be from 0 to 65535",
        "PDS_SQLITE_SYNCHRONOUS is \"off\"",
        "PDS_SERVICE_HANDLE_DOMAINS has \"example.com\"",
        "PDS_JWT_SECRET is not set",
        "PDS_ADMIN_PASSWORD is not set",
        "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX is not set",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn what_cannot_be_used_is_refused() {
    let refused = [
        (vec![("PDS_BLOBSTORE_S3_BUCKET", "b")], "both set"),
        (vec![("PDS_BLOBSTORE_DISK_LOCATION", "")], "PDS_BLOBSTORE_DISK_LOCATION is not set"),
        (vec![("PDS_ENTRYWAY_URL", "https://a.example.com")], "PDS_ENTRYWAY_DID must be"),
        (vec![("PDS_ENTRYWAY_URL", "https://a.example.com")], "PDS_ENTRYWAY_PLC_ROTATION_KEY must be"),
        (vec![("PDS_ENTRYWAY_URL", "a.example.com"), ("PDS_ENTRYWAY_DID", "a")], "PDS_ENTRYWAY_URL is"),
        (vec![("PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX", "02")], "not a k256 public key"),
        (vec![("PDS_ENTRYWAY_PLC_ROTATION_KEY", "did:key:z")], "PDS_ENTRYWAY_PLC_ROTATION_KEY is"),
        (vec![("PDS_PLC_ROTATION_KEY_KMS_KEY_ID", "k")], "both set"),
        (
            vec![("PDS_PLC_ROTATION_KEY_KMS_KEY_ID", "k"), ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", "")],
            "so AWS_REGION must be, too",
        ),
        (vec![("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", "00")], "64 hex characters"),
        (vec![("PDS_EMAIL_SMTP_URL", "smtp://localhost")], "PDS_EMAIL_FROM_ADDRESS"),
        (vec![("PDS_MODERATION_EMAIL_ADDRESS", "a@b.co")], "PDS_MODERATION_EMAIL_SMTP_URL"),
        (vec![("PDS_EMAIL_SMTP_URL", "smtp:///?sendmail=true"), ("PDS_EMAIL_FROM_ADDRESS", "a@b.co")], "sendmail"),
        (vec![("PDS_EMAIL_SMTP_URL", "smtp://localhost"), ("PDS_EMAIL_FROM_ADDRESS", "nobody")], "\"nobody\""),
        (vec![("PDS_PRIMARY_COLOR", "red;background:url(x)")], "not a colour"),
        (vec![("PDS_LOGO_URL", "javascript:alert(1)")], "PDS_LOGO_URL"),
        (vec![("PDS_BSKY_APP_VIEW_URL", "https://api.bsky.app")], "PDS_BSKY_APP_VIEW_DID must be"),
        (vec![("PDS_MOD_SERVICE_URL", "ftp://a"), ("PDS_MOD_SERVICE_DID", "did:web:a.com")], "PDS_MOD_SERVICE_URL is"),
        (vec![("PDS_SERVICE_DID", "did:web")], "PDS_SERVICE_DID is \"did:web\""),
        (vec![("PDS_RECOVERY_DID_KEY", "did:key:z")], "PDS_RECOVERY_DID_KEY is"),
        (vec![("PDS_BLOB_UPLOAD_LIMIT", "-1")], "PDS_BLOB_UPLOAD_LIMIT is -1, must be at least 0"),
        (vec![("PDS_HANDLE_MIN_LENGTH", "19")], "PDS_HANDLE_MAX_LENGTH only 18"),
        (vec![("PDS_SIGNUP", "oauth")], "PDS_SIGNUP is \"oauth\""),
        (vec![("PDS_SIGNUP", "open"), ("PDS_INVITE_REQUIRED", "true")], "differ"),
        (vec![("PDS_SIGNUP", "invite"), ("PDS_INVITE_REQUIRED", "0")], "differ"),
        (vec![("PDS_SIGNUP", "closed"), ("PDS_INVITE_REQUIRED", "true")], "differ"),
        (vec![("PDS_RATE_LIMIT_BYPASS_IPS", "10.0.0.0/8,here")], "\"here\""),
    ];
    for (variables, expected) in refused {
        let text = problem(&variables);
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn a_value_that_the_reference_ignores_is_ignored_with_a_warning() {
    let (config, variables) =
        with(&[("PDS_INVITE_REQUIRED", "no"), ("PDS_PORT", "many"), ("PDS_CRAWLERS", "bsky.network")]);
    let config = config.unwrap();
    assert_eq!(config.sign_up, SignUp::Invite { interval: None, epoch_millis: 0 });
    assert_eq!((config.service.port, config.crawlers.len()), (2583, 0));
    assert_eq!(variables.warnings.len(), 3, "{:?}", variables.warnings);
}

#[test]
fn who_may_sign_up_is_said_by_one_variable_or_by_both_alike() {
    let by_invite = SignUp::Invite { interval: None, epoch_millis: 0 };
    let open = SignUp::Open;
    let cases = [
        (vec![("PDS_SIGNUP", "open")], open, 1),
        (vec![("PDS_SIGNUP", "invite")], by_invite, 0),
        (vec![("PDS_SIGNUP", "closed")], SignUp::Closed, 0),
        (vec![("PDS_SIGNUP", "open"), ("PDS_INVITE_REQUIRED", "false")], open, 1),
        (vec![("PDS_SIGNUP", "invite"), ("PDS_INVITE_REQUIRED", "true")], by_invite, 0),
        (vec![("PDS_INVITE_REQUIRED", "false")], open, 1),
    ];
    for (environment, expected, warnings) in cases {
        let (config, variables) = with(&environment);
        assert_eq!(config.unwrap().sign_up, expected, "{environment:?}");
        assert_eq!(variables.warnings.len(), warnings, "{environment:?}: {:?}", variables.warnings);
    }
}

#[test]
fn unknown_names_are_warned_about_and_the_nearest_is_told() {
    let (config, variables) = with(&[
        ("PDS_BLOB_UPLOAD_LIMITS", "1"),
        ("PDS_NONSENSE", "1"),
        ("PDS_SUCCESS_COLOR", "red"),
        ("HOME", "/root"),
    ]);
    assert_eq!(config.unwrap().limits.blob, 5 * MIB);
    assert_eq!(
        variables.warnings,
        [
            "PDS_BLOB_UPLOAD_LIMITS is not a variable of this server; did you mean PDS_BLOB_UPLOAD_LIMIT?",
            "PDS_NONSENSE is not a variable of this server",
            "PDS_SUCCESS_COLOR has no effect at this server",
        ]
    );
}

#[test]
fn a_name_is_used_or_known_but_never_both() {
    let (_, variables) = with(&[]);
    for name in LATER {
        assert!(!variables.asked().contains(name), "{name}");
    }
    assert!(LATER.is_sorted());
}

#[test]
fn the_name_that_people_set_stands_for_the_handle_domains() {
    let (config, variables) = with(&[("PDS_HANDLE_DOMAINS", ".example.org")]);
    assert_eq!(config.unwrap().handles.domains, [".example.org"]);
    assert!(variables.warnings[0].contains("PDS_SERVICE_HANDLE_DOMAINS"), "{:?}", variables.warnings);
    let both = good(&[("PDS_HANDLE_DOMAINS", ".example.org"), ("PDS_SERVICE_HANDLE_DOMAINS", ".example.net")]);
    assert_eq!(both.handles.domains, [".example.net"]);
}

#[test]
fn development_mode_reaches_local_servers_unless_told_otherwise() {
    assert!(!good(&[("PDS_DEV_MODE", "true")]).network.public_only);
    assert!(good(&[("PDS_DEV_MODE", "true"), ("PDS_DISABLE_SSRF_PROTECTION", "false")]).network.public_only);
    assert!(!good(&[("PDS_DISABLE_SSRF_PROTECTION", "1")]).network.public_only);
}

#[test]
fn a_moderator_gets_the_reports_when_nobody_else_does() {
    let moderator =
        [("PDS_MOD_SERVICE_URL", "https://mod.example.com"), ("PDS_MOD_SERVICE_DID", "did:web:mod.example.com")];
    let services = good(&moderator).services;
    assert!(services.report.is_some() && services.report == services.moderation);
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", good(&[("PDS_RATE_LIMITS_ENABLED", "true"), ("PDS_RATE_LIMIT_BYPASS_KEY", "bypass")]));
    for secret in ["jwt secret", "\"password\"", KEY, "bypass\""] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[test]
fn localhost_starts_without_configuration_and_keeps_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let first = local(&data, &[]).unwrap();
    assert_eq!(first.public_url(2600), "http://localhost:2583");
    assert_eq!(local(&data, &[("PDS_PORT", "0")]).unwrap().public_url(2600), "http://localhost:2600");
    assert_eq!(first.handles.domains, [".test"]);
    assert!(matches!(first.storage.blobs, Blobs::Disk { ref location, .. } if *location == data.join("blocks")));
    assert_eq!((first.secrets.jwt.expose().len(), first.secrets.admin_password.expose().len()), (32, 32));
    let mode = fs::metadata(data.join(SECRETS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1);

    fs::write(data.join("account.sqlite"), "").unwrap();
    let again = local(&data, &[("PDS_ADMIN_PASSWORD", "mine")]).unwrap();
    assert_eq!(again.secrets.jwt.expose(), first.secrets.jwt.expose());
    assert_eq!(held(&again), held(&first));
    assert_eq!(again.secrets.admin_password.expose(), "mine");
}

#[test]
fn no_secret_is_made_beside_accounts() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("account.sqlite"), "").unwrap();
    let text =
        local(directory.path(), &[("PDS_JWT_SECRET", "a"), ("PDS_ADMIN_PASSWORD", "b")]).unwrap_err().to_string();
    assert!(text.contains("holds accounts"), "{text}");
    assert!(text.contains("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX is not set"), "{text}");
    assert!(!directory.path().join(SECRETS_FILE).exists());
}

#[test]
fn a_secret_that_was_given_at_first_is_not_replaced_when_it_is_missing_later() {
    let directory = tempfile::tempdir().unwrap();
    local(directory.path(), &[("PDS_JWT_SECRET", "given")]).unwrap();
    let text = local(directory.path(), &[]).unwrap_err().to_string();
    assert!(text.contains("PDS_JWT_SECRET is not set") && !text.contains("PDS_ADMIN_PASSWORD"), "{text}");
}

#[test]
fn a_start_that_is_refused_makes_no_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let text = local(directory.path(), &[("PDS_PORT", "70000")]).unwrap_err().to_string();
    assert!(text.contains("PDS_PORT") && !text.contains("PDS_JWT_SECRET"), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn an_unreadable_secrets_file_is_refused_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SECRETS_FILE);
    fs::write(&path, "{").unwrap();
    let text = local(directory.path(), &[]).unwrap_err().to_string();
    assert!(text.contains(SECRETS_FILE), "{text}");
    assert_eq!(fs::read(&path).unwrap(), b"{");
}

#[test]
fn a_refused_environment_is_warned_of_unknown_names_only() {
    let all_wrong = [
        ("PDS_HOSTNAME", "a/b"),
        ("PDS_SQLITE_SYNCHRONOUS", "off"),
        ("PDS_BLOBSTORE_S3_BUCKET", "b"),
        ("PDS_DID_PLC_URL", "plc"),
        ("PDS_PLC_ROTATION_KEY_KMS_KEY_ID", "k"),
        ("PDS_ACTOR_STORE_CACHE_SIZE", "1"),
        ("PDS_NONSENSE", "1"),
    ];
    let (_, variables) = with(&all_wrong);
    assert_eq!(variables.warnings, ["PDS_NONSENSE is not a variable of this server"]);
    assert_eq!(variables.problems.len(), 5, "{:?}", variables.problems);
}

#[test]
fn mail_is_sent_as_the_references_variables_say() {
    let config = good(&[
        ("PDS_EMAIL_SMTP_URL", "smtps://resend:re_1%2F2@smtp.resend.com:465/"),
        ("PDS_EMAIL_FROM_ADDRESS", "Trainers <admin@trainers.gg>"),
        ("PDS_EMAIL_DISABLE_CONFIRMATION_LINK", "true"),
        ("PDS_PRIMARY_COLOR", "rgb(1, 2, 3)"),
    ]);
    let email = config.email.unwrap();
    let (name, password) = email.server.login.unwrap();
    assert_eq!((email.server.host.as_str(), name.as_str(), password.expose()), ("smtp.resend.com", "resend", "re_1/2"));
    assert_eq!(
        (email.from.name.as_deref(), email.from.email.to_string().as_str()),
        (Some("Trainers"), "admin@trainers.gg")
    );
    assert!(config.moderation_email.is_none() && !config.branding.confirmation_link);
    let (_, variables) =
        with(&[("PDS_EMAIL_SMTP_URL", "smtp://localhost?greetingTimeout=1"), ("PDS_EMAIL_FROM_ADDRESS", "a@b.co")]);
    assert_eq!(variables.warnings, ["the parameter greetingTimeout in PDS_EMAIL_SMTP_URL has no effect"]);
}

#[test]
fn a_rotation_key_may_be_in_kms() {
    const KMS: &str = "PDS_PLC_ROTATION_KEY_KMS_KEY_ID";
    const RIGHT: [(&str, &str); 3] = [
        ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", ""),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
    ];
    let of = |more: &[(&str, &str)]| {
        let config = good(&[&RIGHT, more].concat());
        let RotationKeyConfig::Kms(kms) = config.secrets.plc_rotation_key else { panic!("{more:?}") };
        (kms.region, kms.endpoint.to_string())
    };
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd";
    let at = |region: &str| (region.to_owned(), format!("https://kms.{region}.amazonaws.com/"));
    assert_eq!(of(&[(KMS, arn)]), at("eu-west-1"));
    assert_eq!(of(&[(KMS, arn), ("AWS_DEFAULT_REGION", "us-east-2")]), at("us-east-2"));
    assert_eq!(of(&[(KMS, "alias/plc"), ("AWS_REGION", "us-east-1")]), at("us-east-1"));
    let elsewhere = [(KMS, arn), ("AWS_ENDPOINT_URL", "http://a.test:1"), ("AWS_ENDPOINT_URL_KMS", "http://b.test:2/")];
    assert_eq!(of(&elsewhere).1, "http://b.test:2/");
    for (more, expected) in [
        (vec![RIGHT[1], RIGHT[2], (KMS, "alias/plc")], "so AWS_REGION must be, too"),
        (vec![RIGHT[1], RIGHT[2], (KMS, "arn:aws:kms:a/b:1:key/2")], "so AWS_REGION must be, too"),
        (vec![RIGHT[2], (KMS, arn)], "so AWS_ACCESS_KEY_ID and"),
        (vec![RIGHT[1], RIGHT[2], (KMS, arn), ("AWS_ENDPOINT_URL_KMS", "kms")], "KMS is at \"kms\""),
    ] {
        let text = problem(&[&RIGHT[..1], &more].concat());
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
