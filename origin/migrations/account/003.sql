alter table "app_password" add column "privileged" integer default 0 not null;
