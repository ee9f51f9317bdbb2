//! The suite: the real origin and the real Worker, over HTTP. Every test's name is a sentence that it proves.
#![expect(clippy::unwrap_used, reason = "tests")]

mod account;
mod app_password;
mod attempt;
mod blob;
mod bucket;
mod client;
mod commands;
mod crash;
mod crawlers;
mod customer;
mod did_web;
mod durability;
mod edge;
mod entryway;
mod feed;
mod firehose;
mod handle;
mod health;
mod identity;
mod import;
mod invite;
mod kms;
mod lifecycle;
mod mail;
mod memory;
mod peers;
mod pipethrough;
mod plc;
mod proxy;
mod rate_limit;
mod read_after_write;
mod record;
mod routes;
mod service_auth;
mod sync;
