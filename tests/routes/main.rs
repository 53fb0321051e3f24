//! Routes as a configuration declares them: which one a request takes, and what is told of them.

#![cfg(test)]

mod coverage;
mod hosts;
mod osmo;
mod table;

use idpsyncd::config::{GatewayConfig, parse};

/// A configuration with these lines in it.
fn gateway(lines: &str) -> GatewayConfig {
    let text = format!(
        "[store]\npath = \"s\"\n[[source]]\nname = \"a\"\nkind = \"file\"\nrealm_export = \"r\"\n\
         [gateway]\nhttp = \"127.0.0.1:1\"\nidentity = \"header\"\n{lines}\n"
    );
    let config = parse(&text, std::path::Path::new("/t.toml"), &idpsyncd::source::kinds());
    config.unwrap_or_else(|faults| panic!("{faults}\n{text}")).gateway.unwrap()
}
