//! A DNS server in this process, on a port of the loopback: what DNS says is not for tests to have on a
//! real one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// A record of a server: priority, weight, port, host.
pub type Srv = (u16, u16, u16, &'static str);

/// A running server; its thread ends with the process.
pub struct FakeDns {
    pub address: SocketAddr,
    /// What was asked for, in order: the names in lower case.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl FakeDns {
    /// Starts one that knows these servers under names such as `_ldap._tcp.example.com`, and that every
    /// other name below `example.com` is at 127.0.0.1.
    pub fn start(records: &[(&str, &[Srv])]) -> FakeDns {
        FakeDns::start_zone("example.com", Ipv4Addr::LOCALHOST, records)
    }

    /// Starts one that knows these servers, and that every other name below `zone` is at `host`.
    pub fn start_zone(zone: &str, host: Ipv4Addr, records: &[(&str, &[Srv])]) -> FakeDns {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let records: HashMap<String, Vec<Srv>> =
            records.iter().map(|(name, list)| (format!("{name}."), list.to_vec())).collect();
        let noted = asked.clone();
        let zone = (format!(".{zone}."), host);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let request = Message::from_vec(&buffer[..length]).unwrap();
                let bytes = answer(&request, &zone, &records, &noted).to_vec().unwrap();
                socket.send_to(&bytes, from).unwrap();
            }
        });
        FakeDns { address, asked }
    }
}

fn answer(
    request: &Message,
    (zone, host): &(String, Ipv4Addr),
    records: &HashMap<String, Vec<Srv>>,
    asked: &Mutex<Vec<String>>,
) -> Message {
    let query = request.queries[0].clone();
    let (name, kind) = (query.name().clone(), query.query_type());
    let lower = name.to_ascii().to_ascii_lowercase();
    if kind == RecordType::SRV {
        asked.lock().unwrap().push(lower.trim_end_matches('.').to_owned());
    }
    let mut response = Message::response(request.metadata.id, request.metadata.op_code);
    response.add_query(query);
    let mut say = |data: RData| {
        response.add_answer(Record::from_rdata(name.clone(), 60, data));
    };
    match (kind, records.get(&lower)) {
        (RecordType::SRV, Some(list)) => {
            for (priority, weight, port, host) in list {
                let host = Name::from_ascii(format!("{host}.")).unwrap();
                say(RData::SRV(SRV::new(*priority, *weight, *port, host)));
            }
        }
        (RecordType::A, None) if lower.ends_with(zone.as_str()) => {
            say(RData::A(A(*host)));
        }
        (RecordType::AAAA, None) if lower.ends_with(zone.as_str()) => {}
        _ => response.metadata.response_code = ResponseCode::NXDomain,
    }
    response
}
