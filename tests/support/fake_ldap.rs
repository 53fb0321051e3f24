//! A directory in this process that commits faults which a real server won't commit on demand.
//!
//! Requests are understood by `ldap3_proto`; answers are put together byte by byte, so that they
//! can be wrong.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use ldap3_proto::LdapCodec;
use ldap3_proto::control::LdapControl;
use ldap3_proto::proto::{LdapOp, LdapSearchScope};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::FramedRead;

/// A search as it was asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    pub base: String,
    /// A search for the base entry alone.
    pub one: bool,
    /// The attributes that are wanted.
    pub attributes: Vec<String>,
    /// The filter, as its `Debug` has it.
    pub filter: String,
    /// It asks for changes (RFC 4533).
    pub sync: bool,
    /// The paging cookie sent along; `None` without the control.
    pub cookie: Option<Vec<u8>>,
    /// How many searches over this base came before, on any connection.
    pub before: usize,
}

/// What the directory says to it, in this order.
#[derive(Clone, Debug)]
pub enum Say {
    Entry(Vec<u8>, Vec<(&'static str, Vec<String>)>),
    /// An entry whose attributes' names are made as it goes.
    Ranged(Vec<u8>, Vec<(String, Vec<Vec<u8>>)>),
    Reference(&'static str),
    /// The end: result code, and the cookie in a paging control.
    Done(u8, Option<&'static str>),
    /// That with a control: its OID and its value.
    With(Box<Say>, &'static str, Vec<u8>),
    /// Nothing for so long; whatever else is asked on this connection waits as well.
    Wait(Duration),
    /// The end with a paging control of this value.
    BadControl(Vec<u8>),
    /// A message of this operation tag with this content.
    Op(u8, Vec<u8>),
    /// These bytes, whatever they are.
    Raw(Vec<u8>),
    /// Nothing more, ever.
    Stall,
    /// The connection is closed.
    Close,
}

pub type Script = Arc<dyn Fn(&Ask) -> Vec<Say> + Send + Sync>;

/// A running directory; it ends with the runtime.
pub struct Fake {
    pub url: String,
}

impl Fake {
    /// Starts one that accepts at most `connections` at once and closes further ones unheard.
    pub async fn start(connections: usize, script: Script) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                if open.fetch_add(1, Ordering::SeqCst) >= connections {
                    open.fetch_sub(1, Ordering::SeqCst);
                    continue;
                }
                let (open, asked, script) = (open.clone(), asked.clone(), script.clone());
                tokio::spawn(async move {
                    serve(stream, &asked, &script).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Fake { url }
    }
}

type Asked = std::sync::Mutex<std::collections::HashMap<(String, bool), usize>>;

async fn serve(stream: TcpStream, asked: &Asked, script: &Script) {
    let (read, mut write) = stream.into_split();
    let mut requests = FramedRead::new(read, LdapCodec::default());
    while let Some(Ok(request)) = requests.next().await {
        let says = match request.op {
            LdapOp::BindRequest(_) => vec![Say::Op(0x61, result(0))],
            LdapOp::SearchRequest(search) => {
                let one = matches!(search.scope, LdapSearchScope::Base);
                let cookie = request.ctrl.iter().find_map(|control| match control {
                    LdapControl::SimplePagedResults { cookie, .. } => Some(cookie.clone()),
                    _ => None,
                });
                let before = {
                    let mut asked = asked.lock().unwrap();
                    let count = asked.entry((search.base.clone(), one)).or_insert(0);
                    *count += 1;
                    *count - 1
                };
                let sync = |it: &LdapControl| matches!(it, LdapControl::SyncRequest { .. });
                let sync = request.ctrl.iter().any(sync);
                let filter = format!("{:?}", search.filter);
                let (base, attributes) = (search.base, search.attrs);
                script(&Ask { base, one, attributes, filter, sync, cookie, before })
            }
            LdapOp::AbandonRequest(_) => continue,
            _ => return,
        };
        for say in says {
            let bytes = match say {
                Say::Stall => {
                    // Until the other side gives up.
                    while requests.next().await.is_some() {}
                    return;
                }
                Say::Close => return,
                Say::Wait(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Say::Raw(bytes) => bytes,
                other => message(request.msgid, other),
            };
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

/// An entry that became this (1: new, 2: changed, 3: gone), as a search for changes tells it.
pub fn became(what: u8, dn: &str, id: [u8; 16]) -> Say {
    let state = tlv(0x30, &[tlv(0x0a, &[what]), tlv(4, &id)].concat());
    let entry = Say::Entry(dn.as_bytes().to_vec(), vec![]);
    Say::With(Box::new(entry), "1.3.6.1.4.1.4203.1.9.1.2", state)
}

/// The end of a refresh that said who is gone, with the cookie from which to go on.
pub fn refreshed(cookie: &str) -> Say {
    let end = tlv(0xa1, &tlv(4, cookie.as_bytes()));
    let parts = [tlv(0x80, b"1.3.6.1.4.1.4203.1.9.1.4"), tlv(0x81, &end)];
    Say::Op(0x79, parts.concat())
}

/// The answer to who asks for a cookie alone.
pub fn cookie(cookie: &str) -> Say {
    let value = tlv(0x30, &tlv(4, cookie.as_bytes()));
    Say::With(Box::new(Say::Done(0, None)), "1.3.6.1.4.1.4203.1.9.1.3", value)
}

fn message(id: i32, say: Say) -> Vec<u8> {
    let mut parts = tlv(2, &id.to_be_bytes());
    if let Say::With(say, oid, value) = say {
        operation(*say, &mut parts);
        let control = [tlv(4, oid.as_bytes()), tlv(4, &value)].concat();
        parts.extend(tlv(0xa0, &tlv(0x30, &control)));
    } else {
        operation(say, &mut parts);
    }
    tlv(0x30, &parts)
}

fn operation(say: Say, parts: &mut Vec<u8>) {
    let text = |text: &str| tlv(4, text.as_bytes());
    let paging = |value: &[u8]| {
        tlv(0xa0, &tlv(0x30, &[text("1.2.840.113556.1.4.319"), tlv(4, value)].concat()))
    };
    match say {
        Say::Entry(dn, attributes) => {
            let attributes: Vec<u8> = attributes
                .into_iter()
                .flat_map(|(name, values)| {
                    let values: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
                    tlv(0x30, &[text(name), tlv(0x31, &values)].concat())
                })
                .collect();
            parts.extend(tlv(0x64, &[tlv(4, &dn), tlv(0x30, &attributes)].concat()));
        }
        Say::Ranged(dn, attributes) => {
            let attributes: Vec<u8> = attributes
                .into_iter()
                .flat_map(|(name, values)| {
                    let values: Vec<u8> = values.iter().flat_map(|value| tlv(4, value)).collect();
                    tlv(0x30, &[text(&name), tlv(0x31, &values)].concat())
                })
                .collect();
            parts.extend(tlv(0x64, &[tlv(4, &dn), tlv(0x30, &attributes)].concat()));
        }
        Say::Reference(url) => parts.extend(tlv(0x73, &text(url))),
        Say::Done(code, cookie) => {
            parts.extend(tlv(0x65, &result(code)));
            if let Some(cookie) = cookie {
                let value = tlv(0x30, &[tlv(2, &[0]), text(cookie)].concat());
                parts.extend(paging(&value));
            }
        }
        Say::BadControl(value) => {
            parts.extend(tlv(0x65, &result(0)));
            parts.extend(paging(&value));
        }
        Say::Op(tag, content) => parts.extend(tlv(tag, &content)),
        Say::Raw(_) | Say::Stall | Say::Close | Say::Wait(_) | Say::With(..) => {}
    }
}

fn result(code: u8) -> Vec<u8> {
    [tlv(0x0a, &[code]), tlv(4, b""), tlv(4, b"")].concat()
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            out.push(0x84);
            out.extend(u32::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}
