//! `[[gateway.authzen.caller]]`: who may ask, and how they prove who they are.

use std::path::PathBuf;

use super::super::exposure::remote;
use super::super::fault::Code;
use super::super::jwt::{Around, jwks_url};
use super::super::reader::{Node, Read, Table, all};
use super::super::types::SecretRef;
use super::super::value::http_url;

/// `[[gateway.authzen.caller]]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallerConfig {
    /// What the log calls it; distinct.
    pub name: String,
    /// How it proves who it is.
    pub proof: CallerProof,
    /// What it may ask; at least one.
    pub may: Vec<Capability>,
}

/// How a caller proves who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallerProof {
    /// A bearer token (RFC 6750) with this secret.
    Token(SecretRef),
    /// A bearer token that an issuer made for it.
    Jwt(CallerJwt),
    /// A client's certificate of `gateway.tls.client_ca_file` that names it so: a DNS name or a URI
    /// among its alternative names, or its common name where it has neither.
    ClientCertificate(String),
}

/// `jwt` of a caller: what its tokens must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallerJwt {
    /// Compared exactly with `iss`.
    pub issuer: String,
    /// In `aud`, or `azp`.
    pub audience: String,
    /// `azp`.
    pub client: String,
    /// Where the issuer's keys are, in place of discovery.
    pub jwks_url: Option<String>,
    /// A CA certificate file (PEM) to trust besides the system's, for reading the keys.
    pub ca_file: Option<PathBuf>,
    /// The source that issues them, where one does.
    pub source: Option<String>,
}

/// What a caller may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Capability {
    /// Whether somebody may.
    Evaluate,
    /// Who may, and what somebody may.
    Search,
}

/// Reads the callers. `certified`: clients show certificates.
pub(super) fn callers(
    table: &Table<'_>,
    certified: bool,
    around: &Around<'_>,
) -> Read<Vec<CallerConfig>> {
    let mut seen: Vec<CallerConfig> = Vec::new();
    table.or("caller", Vec::new(), |node| {
        all(node.tables()?.iter().map(|table| {
            let caller = caller(table, &seen, (certified, around))?;
            seen.push(caller.clone());
            Ok(caller)
        }))
    })
}

fn caller(
    table: &Table<'_>,
    seen: &[CallerConfig],
    (certified, around): (bool, &Around<'_>),
) -> Read<CallerConfig> {
    let name = table.required("name", |node| {
        let name = node.text()?;
        if seen.iter().any(|caller| caller.name == name) {
            let name = name.escape_debug();
            return Err(node.fault(Code::Conflict, format!("`{name}` is there already")));
        }
        Ok(name)
    });
    let token = table.optional("token", |node| node.secret().map(CallerProof::Token));
    let jwt = table.optional("jwt", |node| jwt(&node.table()?, around).map(CallerProof::Jwt));
    let certificate = table.optional("client_certificate", |node| {
        if !certified {
            let why = "needs `[gateway.tls]` with `client_ca_file`: else no client shows one";
            return Err(node.fault(Code::Conflict, why));
        }
        node.text().map(CallerProof::ClientCertificate)
    });
    let may = table.or("may", vec![Capability::Evaluate, Capability::Search], |node| {
        let words = [("evaluate", Capability::Evaluate), ("search", Capability::Search)];
        all(node.some_list()?.iter().map(|node| node.one_of(&words)))
    });
    table.finish();
    let given = [token?, jwt?, certificate?];
    let mut given = given.into_iter().flatten();
    let proof = match (given.next(), given.next()) {
        (Some(proof), None) => proof,
        (None, _) => {
            return Err(table.fault(
                Code::MissingKey,
                "says nothing that it proves itself by: one of `token`, `jwt`, `client_certificate`",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(table.fault(
                Code::Conflict,
                "proves itself in one way: only one of `token`, `jwt`, `client_certificate`",
            ));
        }
    };
    if seen.iter().any(|caller| same(&caller.proof, &proof)) {
        return Err(table.fault(Code::Conflict, "proves itself as another caller does"));
    }
    Ok(CallerConfig { name: name?, proof, may: may? })
}

/// Whether what proves one of two callers could prove the other.
fn same(one: &CallerProof, other: &CallerProof) -> bool {
    match (one, other) {
        (CallerProof::Jwt(one), CallerProof::Jwt(other)) => {
            one.issuer == other.issuer && one.client == other.client
        }
        (one, other) => one == other,
    }
}

fn jwt(table: &Table<'_>, around: &Around<'_>) -> Read<CallerJwt> {
    let issuer = table.required("issuer", |node| {
        let issuer = node.text()?;
        if !table.has("jwks_url") {
            let url = node.parsed(http_url)?;
            in_secret(node, &url)?;
        }
        Ok(issuer)
    });
    let audience = table.required("audience", Node::text);
    let client = table.required("client", Node::text);
    let jwks_url = table.optional("jwks_url", |node| {
        let url = node.parsed(jwks_url)?;
        in_secret(node, &url)?;
        Ok(node.string()?.to_owned())
    });
    let ca_file = table.optional("ca_file", Node::path);
    table.finish();
    let issuer = issuer?;
    Ok(CallerJwt {
        source: around.issuing(&issuer).map(str::to_owned),
        issuer,
        audience: audience?,
        client: client?,
        jwks_url: jwks_url?,
        ca_file: ca_file?,
    })
}

/// Keys come from this machine, or over TLS.
fn in_secret(node: &Node<'_>, url: &url::Url) -> Read<()> {
    if url.scheme() == "http" && remote(url) {
        return Err(node.bad(
            "its keys would come over `http://` from another machine, where anybody on the way could \
             put their own and be this caller: use `https://`",
        ));
    }
    Ok(())
}
