//! The deployment's authoritative DNS: every name it serves has one address; every other name does not exist.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, Metadata, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use tokio::net::UdpSocket;

/// Zone all names of the deployment are in.
const ZONE: &str = "acme.internal.";

/// Answers questions about names in the zone with `address`, until the socket fails.
pub(super) async fn serve(socket: UdpSocket, address: Ipv4Addr) {
    let mut datagram = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut datagram).await {
        let Some(answer) = answer(&datagram[..length], address) else { continue };
        // A client that left loses its answer.
        let _ = socket.send_to(&answer, client).await;
    }
}

fn answer(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?;
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata = Metadata::response_from_request(&question.metadata);
    answer.metadata.authoritative = true;
    answer.add_query(query.clone());
    let name = query.name().to_lowercase();
    if !name.to_ascii().ends_with(ZONE) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    } else if query.query_type() == RecordType::A {
        answer.add_answer(Record::from_rdata(query.name().clone(), 60, RData::A(rdata::A(address))));
    }
    answer.to_vec().ok()
}
