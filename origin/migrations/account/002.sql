alter table "actor" add column "deactivatedAt" varchar;
alter table "actor" add column "deleteAfter" varchar;
