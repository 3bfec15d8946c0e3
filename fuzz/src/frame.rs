//! Frames between the roles: whatever a hostile role says costs bounded memory, and what is read is what was said.

use std::fmt::Debug;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shield_agent::ipc::frame::{self, FrameError, MAX_FRAME, Reader};
use shield_agent::ipc::{approver, gate, launch, signer, supervisor, worker};

use crate::connection::Pieces;
use crate::memory;

/// What a message may take beside its own bytes: lists take room for what they say they hold, up to a limit.
const ROOM: usize = 8 << 20;
/// What one byte may become.
const ROOM_PER_BYTE: usize = 512;

/// Everything that is said.
const CHANNELS: [fn(&[u8]); 16] = [
    said::<worker::ToWorker>,
    said::<worker::FromWorker>,
    said::<approver::ToApprover>,
    said::<approver::FromApprover>,
    said::<signer::SignLeaf>,
    said::<signer::LeafSigned>,
    said::<supervisor::Start>,
    said::<supervisor::SignerReady>,
    said::<supervisor::ToApproverRole>,
    said::<supervisor::FromApproverRole>,
    said::<gate::GateRequest>,
    said::<gate::GateReply>,
    said::<launch::Order>,
    said::<launch::Belongings>,
    said::<launch::Signal>,
    said::<launch::News>,
];

/// Takes the number of a channel and a message on it; with the number's highest bit, the message brings its own length.
pub fn check(data: &[u8]) {
    let Some((&channel, message)) = data.split_first() else { return };
    let length = (message.len() as u32).to_be_bytes();
    let length = if channel & 0x80 == 0 { &length[..] } else { &[] };
    CHANNELS[usize::from(channel & 0x7f) % CHANNELS.len()](&[length, message].concat());
}

fn said<M: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let (message, peak) = memory::peak_of(|| read::<M>(bytes));
    let allowed = ROOM + ROOM_PER_BYTE * bytes.len();
    assert!(peak <= allowed, "{} bytes took {peak} bytes of memory", bytes.len());
    let buffered = now(Reader::new(Pieces::new(bytes, &[1, 2, usize::MAX])).next::<M>());
    let Ok(message) = message else {
        assert!(buffered.is_err(), "one reader refuses what the other takes");
        return;
    };
    let told = frame::encode(&message, MAX_FRAME).expect("what was read can be said");
    let again = read::<M>(&told).expect("what is said can be read");
    assert_eq!(format!("{message:?}"), format!("{again:?}"));
    assert_eq!(frame::encode(&again, MAX_FRAME).expect("what was read can be said"), told);
    assert_eq!(format!("{message:?}"), format!("{:?}", buffered.expect("both readers take it")));
}

fn read<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    now(frame::read_within(&mut Pieces::whole(bytes), MAX_FRAME))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a connection in memory never waits"),
    }
}
