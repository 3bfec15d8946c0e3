//! Real clients through the gate: what is allowed passes, what is held waits for a person, and the origin's ledger says
//! how often and with which bytes a request arrived.

mod anyone;
mod attached;
mod attached_kinds;
mod attached_process;
mod distrust;
mod git;
mod grpc;
mod http;
mod identity;
mod libraries;
mod many;
mod names;
mod namespaces;
mod plain;
mod private_service;
mod quic;
mod strict;
mod terminal;
mod unread;
mod ways;
