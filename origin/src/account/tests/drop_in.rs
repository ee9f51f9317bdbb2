//! Files and rows that the reference made, and what it would find in ours.

use shared::token::Verifier;
use shared::token::session;

use super::*;
use crate::account::EmailChange;

/// Rows as the functions of the reference 0.5.35 wrote them, but for the times, which the tests set.
const ROWS: &str = r#"
INSERT INTO actor VALUES('did:plc:7iza6de2dwap2sbkpav7c6c6','alice.test','2026-01-24T02:44:58.813Z',NULL,NULL,NULL);
INSERT INTO account VALUES('did:plc:7iza6de2dwap2sbkpav7c6c6','alice@example.com','039a3d5c70a272d514d8ff4751e7fb5e:601b169ba8ef96ec84775b043fe753c0cd64a4a26c393fb619aa28cf7effdea434d407bd99fc3a8ddc79972b813dfed07566730b9abe7b9fb4be7feeb04533d3',NULL,0);
INSERT INTO app_password VALUES('did:plc:7iza6de2dwap2sbkpav7c6c6','phone','296696a312a8139629d6569d752b57cc:1ab89f174b29fff397f271580a8c1e6d87d25e67bf5b875726cd497f94acb963800d84cee3b138b4ed77bc781d2d45f89e0c5b44e17661af4c2a1d91fffab984','2026-01-24T02:44:58.876Z',1);
INSERT INTO invite_code VALUES('pds-test-abcde-fghij',1,0,'admin','admin','2026-01-24T02:44:58.741Z');
INSERT INTO invite_code_use VALUES('pds-test-abcde-fghij','did:plc:7iza6de2dwap2sbkpav7c6c6','2026-01-24T02:44:58.811Z');
INSERT INTO refresh_token VALUES('MbdOjkWc+f/VF0rQHJvoNDFWgBwLY7LBuz12t+BJgSI','did:plc:7iza6de2dwap2sbkpav7c6c6','SOON','OXS1RhiMF+uebzZIqI58lGDMBxuxgvnHTcYZh03u1oo','phone');
INSERT INTO refresh_token VALUES('OXS1RhiMF+uebzZIqI58lGDMBxuxgvnHTcYZh03u1oo','did:plc:7iza6de2dwap2sbkpav7c6c6','LATER',NULL,'phone');
INSERT INTO repo_root VALUES('did:plc:7iza6de2dwap2sbkpav7c6c6','bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua','3jzfcijpj2z2a','2026-01-24T02:44:58.814Z');
INSERT INTO email_token VALUES('reset_password','did:plc:7iza6de2dwap2sbkpav7c6c6','XHQWR-GDO4L','JUST NOW');
"#;

fn reference() -> (TempDir, Accounts, Did) {
    let (directory, accounts) = opened(config());
    let rows = ROWS.replace("SOON", at(HOUR).as_str()).replace("LATER", at(90 * DAY).as_str());
    meddle(&accounts, &rows.replace("JUST NOW", at(-1000).as_str()));
    (directory, accounts, Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap())
}

#[test]
fn a_fresh_file_has_the_references_schema_to_the_letter() {
    let (_directory, accounts) = opened(config());
    let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name NOT LIKE 'headwater%'";
    let mut ours: Vec<String> = accounts
        .db()
        .read_blocking(|c| -> Result<_, DbError> {
            Ok(c.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })
        .unwrap();
    let mut reference: Vec<_> = include_str!("reference_schema.sql").lines().map(str::to_owned).collect();
    ours.sort();
    reference.sort();
    assert_eq!(ours, reference);
    assert_eq!(count(&accounts, "SELECT count(*) FROM kysely_migration WHERE name BETWEEN '001' AND '007'"), 7);
}

#[test]
fn a_file_of_any_age_is_brought_to_the_same_schema() {
    let master = |db: &Db| -> Vec<(String, Option<String>)> {
        db.read_blocking(|c| -> Result<_, DbError> {
            let mut statement = c.prepare("SELECT name, sql FROM sqlite_master ORDER BY name")?;
            Ok(statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?)
        })
        .unwrap()
    };
    let (_directory, fresh) = opened(config());
    for age in 0..=SCHEMA.steps.len() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("account.sqlite");
        drop(Db::open(&path, OPTIONS, &Schema { steps: &SCHEMA.steps[..age], own: "" }).unwrap());
        let brought = Accounts::open(&path, OPTIONS, config()).unwrap();
        assert_eq!(master(brought.db()), master(fresh.db()), "from {age}");
    }
}

#[test]
fn devices_are_carried_over_as_the_fifth_step_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("account.sqlite");
    let old = Db::open(&path, OPTIONS, &Schema { steps: &SCHEMA.steps[..4], own: "" }).unwrap();
    let (long_ago, now) = (at(-2 * HOUR), at(-1000));
    let rows = format!(
        "INSERT INTO account (did, email, passwordScrypt) VALUES ('did:web:a', 'a@b.co', 'x');
         INSERT INTO device VALUES ('dev-1', 'ses-1', NULL, '::1', '{now}'), ('dev-2', 'ses-2', NULL, '::1', '{now}');
         INSERT INTO device_account VALUES
             ('did:web:a', 'dev-1', '{long_ago}', 1, '[]'), ('did:web:gone', 'dev-1', '{now}', 1, '[]'),
             ('did:web:a', 'dev-2', '{long_ago}', 0, '[]'), ('did:web:gone', 'dev-2', '{now}', 0, '[]');"
    );
    old.write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute_batch(&rows)?) }).unwrap();
    drop(old);
    let accounts = Accounts::open(&path, OPTIONS, config()).unwrap();
    assert_eq!(count(&accounts, "SELECT count(*) FROM device_account"), 3);
    assert_eq!(count(&accounts, "SELECT count(*) FROM account_device"), 1);
    let carried = format!(
        "SELECT count(*) FROM account_device WHERE did = 'did:web:a' AND deviceId = 'dev-1' \
         AND createdAt = '{long_ago}' AND updatedAt = '{long_ago}'"
    );
    assert_eq!(count(&accounts, &carried), 1);
}

#[tokio::test]
async fn passwords_of_the_references_accounts_log_in() {
    let (_directory, accounts, did) = reference();
    for identifier in [did.as_str(), "Alice.test", "ALICE@example.com"] {
        let login = accounts.login(identifier, "hunter2 ☃").await.unwrap();
        assert_eq!((&login.account.did, login.credential), (&did, Credential::Password));
    }
    let login = accounts.login("alice.test", "qsil-jyb4-attr-bjm5").await.unwrap();
    assert_eq!(login.credential, Credential::AppPassword { name: "phone".to_owned(), privileged: true });
    assert!(matches!(accounts.login("alice.test", "qsil-jyb4-attr-bjm6").await, Err(AccountError::Credentials)));
}

#[tokio::test]
async fn sessions_that_the_reference_opened_go_on() {
    let (_directory, accounts, did) = reference();
    let config = config();
    let key = Verifier::Hmac(&config.jwt_key);
    // Used once at the reference, used again here within the grace: the same next token.
    for _ in 0..2 {
        let (_, tokens) = accounts.refresh(&did, "MbdOjkWc+f/VF0rQHJvoNDFWgBwLY7LBuz12t+BJgSI").await.unwrap();
        let next = session::verify_refresh(&tokens.refresh, key, &config.service_did, None).unwrap();
        assert_eq!(next.id, "OXS1RhiMF+uebzZIqI58lGDMBxuxgvnHTcYZh03u1oo");
        let scopes = [session::Scope::AppPassPrivileged];
        session::verify_access(&tokens.access, key, &config.service_did, &scopes, 0).unwrap();
    }
    accounts.refresh(&did, "OXS1RhiMF+uebzZIqI58lGDMBxuxgvnHTcYZh03u1oo").await.unwrap();
}

#[test]
fn a_token_that_the_reference_signed_is_ours() {
    let token = "eyJ0eXAiOiJyZWZyZXNoK2p3dCIsImFsZyI6IkhTMjU2In0.eyJzY29wZSI6ImNvbS5hdHByb3RvLnJlZnJlc2giLCJhdWQiOiJkaWQ6d2ViOnBkcy50ZXN0Iiwic3ViIjoiZGlkOnBsYzo3aXphNmRlMmR3YXAyc2JrcGF2N2M2YzYiLCJqdGkiOiJNYmRPamtXYytmL1ZGMHJRSEp2b05ERldnQndMWTdMQnV6MTJ0K0JKZ1NJIiwiaWF0IjoxNzk1NDg4Mjk4LCJleHAiOjE4MDMyNjQyOTh9.3rIzep902eUoV_tyH7aX8sH-m7SyzrpC381IM9UHdCI";
    let config = config();
    let verified = session::verify_refresh(token, Verifier::Hmac(&config.jwt_key), &config.service_did, None).unwrap();
    assert_eq!(verified.id, "MbdOjkWc+f/VF0rQHJvoNDFWgBwLY7LBuz12t+BJgSI");
}

#[tokio::test]
async fn codes_and_mailed_tokens_of_the_reference_count() {
    let (_directory, accounts, did) = reference();
    let invited = accounts.invited_by(vec![did.clone()]).await.unwrap();
    assert_eq!(invited[&did].code, "pds-test-abcde-fghij");
    let again = NewAccount { invite_code: Some("pds-test-abcde-fghij".to_owned()), ..new_account("bob") };
    assert!(matches!(accounts.create(again, quiet).await, Err(AccountError::InviteUnavailable)));
    assert_eq!(accounts.reset_password("xhqwr-gdo4l", "new").await.unwrap(), did);
    assert!(accounts.is_password(&did, "new").await.unwrap());
    accounts.set_email(&did, "b@c.co", EmailChange::Owner { token: None }).await.unwrap();
}
