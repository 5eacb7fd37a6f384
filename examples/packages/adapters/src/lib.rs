//! Adapters between leasehold and the HTTP clients and servers that people use. Each file stands alone and is meant to
//! be copied.
//!
//! Clients, which make no request that was not judged and dial no address that was not: [`ureq_agent`],
//! [`reqwest_client`], [`hyper_client`]. Servers, which serve holders of live leases only: [`tower_layer`],
//! [`axum_middleware`] and [`tonic_interceptor`], with [`guard`] as what they have in common. [`feed`] keeps the view of
//! leases up to date, and [`mutual_tls`] says which certificate a connection showed. `src/bin/service.rs` puts them
//! together.

// The core may not read clocks or sleep. This is what does that for it.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod axum_middleware;
pub mod feed;
pub mod guard;
pub mod hyper_client;
pub mod lookup;
pub mod mutual_tls;
pub mod reqwest_client;
pub mod tls;
pub mod tonic_interceptor;
pub mod tower_layer;
pub mod ureq_agent;
