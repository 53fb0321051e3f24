//! The gateway asks: who is this, what does the request do, on what, and may they?
//!
//! ```text
//! Envoy gRPC ┐                       ┌ identity ─ who (JWT, metadata, header)      ┐
//! Envoy HTTP ┤                       │ path, route ─ which action, on what         │
//! nginx      ├─► grpc, http ─► decide┤ snapshot ─ the committed generation, memory ├─► answer
//! Traefik    │                       │ provision ─ someone nobody has seen yet     │
//! Caddy      ┘                       └─────────────────────────────────────────────┘
//!                                      follow ─ swaps in each new generation whole
//! ```
//!
//! A request is answered from memory. What it may wait for is a just-in-time look-up of someone
//! whom the store does not know, and the keys of an issuer that signs with a key not seen before;
//! both are bounded. Nothing here can take anything from anybody.

pub mod coverage;
pub mod follow;
pub mod identity;
pub mod osmo;
pub mod path;
pub mod provision;
pub mod question;
pub mod route;
pub mod snapshot;
