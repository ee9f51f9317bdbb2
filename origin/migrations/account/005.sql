-- Sign-ins that were not to be remembered, and are over.
delete from "device_account" where "remember" = 0 and "authenticatedAt" < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour');
create table if not exists "account_device" ("did" varchar not null, "deviceId" varchar not null, "createdAt" varchar not null, "updatedAt" varchar not null, constraint "account_device_pk" primary key ("deviceId", "did"), constraint "account_device_did_fk" foreign key ("did") references "account" ("did") on delete cascade on update cascade, constraint "account_device_device_id_fk" foreign key ("deviceId") references "device" ("id") on delete cascade on update cascade);
-- Those of deleted accounts stay behind: "device_account" never knew of the deletion.
insert into "account_device" ("did", "deviceId", "createdAt", "updatedAt")
select "did", "deviceId", "authenticatedAt", "authenticatedAt" from "device_account"
where "remember" = 1 and exists (select 1 from "account" where "account"."did" = "device_account"."did")
on conflict do nothing;
create index "account_device_did_idx" on "account_device" ("did");
create table "authorized_client" ("did" varchar not null, "clientId" varchar not null, "createdAt" varchar not null, "updatedAt" varchar not null, "data" varchar not null, constraint "authorized_client_pk" primary key ("did", "clientId"), constraint "authorized_client_did_fk" foreign key ("did") references "account" ("did") on delete cascade on update cascade);
