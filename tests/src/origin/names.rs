//! The deployment's authoritative DNS: every name it serves has one address, and one of IPv6 that no host of the deployment
//! has a way to, as is common; every other name does not exist. It counts what it is asked.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// Zone all names of the deployment are in.
const ZONE: &str = "acme.internal.";
/// An alias of the first name the origin serves.
const ALIAS: &str = "alias.acme.internal.";
/// What it is an alias of.
const TARGET: &str = "crm.acme.internal.";
/// Leads nowhere: nobody may be given it.
const NOWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
/// A name with a second address, told first, at which nobody is.
const TWICE: &str = "twice.acme.internal.";
/// That address.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// Seconds answers may be kept.
const TTL: u32 = 60;

/// What was asked: names as they were spelled, and messages that are no questions.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// How many questions had `text` in their name.
    pub fn about(&self, text: &str) -> usize {
        self.lock().iter().filter(|name| name.contains(text)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers questions about names in the zone with `address`, until the socket fails.
pub(super) async fn serve(socket: UdpSocket, address: Ipv4Addr, asked: Asked) {
    let mut datagram = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
        let Some(answer) = answer(&datagram[..length], address, &asked) else { continue };
        // A client that left loses its answer.
        let _ = socket.send_to(&answer, client).await;
    }
}

/// The same over TCP, one question a connection.
pub(super) async fn serve_tcp(listener: TcpListener, address: Ipv4Addr, asked: Asked) {
    while let Ok((mut stream, _)) = listener.accept().await {
        // A client that left loses its answer.
        let _ = answer_tcp(&mut stream, address, &asked).await;
    }
}

async fn answer_tcp(stream: &mut TcpStream, address: Ipv4Addr, asked: &Asked) -> std::io::Result<()> {
    let mut message = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut message).await?;
    let Some(answer) = answer(&message, address, asked) else { return Ok(()) };
    stream.write_u16(u16::try_from(answer.len()).map_err(std::io::Error::other)?).await?;
    stream.write_all(&answer).await
}

fn answer(message: &[u8], address: Ipv4Addr, asked: &Asked) -> Option<Vec<u8>> {
    let question = Message::from_vec(message).ok();
    let query = question.as_ref().and_then(|question| question.queries.first());
    asked.lock().push(query.map_or_else(|| format!("{message:?}"), |query| query.name().to_ascii()));
    let (question, query) = (question.as_ref()?, query?);
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&question.metadata);
    answer.metadata.authoritative = true;
    answer.add_query(query.clone());
    let name = query.name().to_lowercase();
    if name.to_ascii().ends_with(ZONE) {
        answer.add_answers(records(&name, query.query_type(), address)?);
    } else {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.to_vec().ok()
}

fn records(name: &Name, kind: RecordType, address: Ipv4Addr) -> Option<Vec<Record>> {
    let record = |name: &Name, data: RData| Record::from_rdata(name.clone(), TTL, data);
    let (mut owner, mut records) = (name.clone(), Vec::new());
    if name.to_ascii() == ALIAS {
        owner = Name::from_ascii(TARGET).ok()?;
        records.push(record(name, RData::CNAME(CNAME(owner.clone()))));
    }
    match kind {
        RecordType::A if owner.to_ascii() == TWICE => {
            records.extend([NOBODY, address].map(|address| record(&owner, RData::A(A(address)))));
        }
        RecordType::A => records.push(record(&owner, RData::A(A(address)))),
        RecordType::AAAA => records.push(record(&owner, RData::AAAA(AAAA(NOWHERE)))),
        RecordType::HTTPS => records.push(record(&owner, RData::HTTPS(service(address)))),
        _ => {}
    }
    Some(records)
}

/// A service that would rather be spoken to in HTTP/3 and by a hidden name.
fn service(address: Ipv4Addr) -> HTTPS {
    let protocols = ["h3", "h3-29", "h2"].map(str::to_owned).to_vec();
    HTTPS(SVCB::new(
        1,
        Name::root(),
        vec![
            (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(protocols))),
            (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A(address)]))),
            (SvcParamKey::EchConfigList, SvcParamValue::EchConfigList(EchConfigList(vec![0; 40]))),
            (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA(NOWHERE)]))),
        ],
    ))
}
