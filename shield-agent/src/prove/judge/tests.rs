//! The judgement, on made-up evidence.

use super::*;
use crate::prove::path::PATHS;

fn path(id: &str) -> &'static Path {
    PATHS.iter().find(|path| path.id == id).unwrap()
}

fn done() -> Observation {
    let (counters, arrivals, packets) = (BTreeMap::new(), vec![], vec![]);
    Observation { outcome: Outcome::Done, counters, arrivals, packets }
}

fn out() -> Observation {
    Observation { packets: vec!["UDP 10.99.0.1 > 1.2.3.4".into()], ..done() }
}

fn refused(call: &str, errno: i32) -> Observation {
    Observation { outcome: Outcome::Refused { call: call.into(), errno }, ..done() }
}

fn counted(reason: Reason, seen: Observation) -> Observation {
    Observation { counters: [(reason.name(), 1)].into(), ..seen }
}

fn judged(id: &str, seen: &Observation, beside: Beside<'_>) -> Verdict {
    judge(path(id), Mode::Run, Identity::User, seen, beside)
}

#[test]
fn a_packet_on_the_wire_is_a_leak_whatever_the_agent_was_told() {
    for seen in [out(), Observation { packets: out().packets, ..refused("sendto", libc::EPERM) }] {
        assert_eq!(judged("udp4", &seen, Beside { same: Some(&out()), ..Beside::default() }), Verdict::Leak);
        // Even when nothing shows that it can succeed elsewhere.
        assert_eq!(judged("udp4", &seen, Beside::default()), Verdict::Leak);
    }
}

#[test]
fn a_descriptor_no_hook_sees_is_a_leak_without_any_packet() {
    assert_eq!(judged("vsock", &done(), Beside::default()), Verdict::Leak);
}

#[test]
fn what_is_not_promised_is_so_in_its_mode_and_for_its_user_only() {
    let root = |mode| judge(path("unpin"), mode, Identity::Root, &out(), Beside::default());
    assert!(matches!(root(Mode::Attach), Verdict::NotPromised { .. }));
    assert_eq!(root(Mode::Run), Verdict::Leak);
    let user = judge(path("unpin"), Mode::Attach, Identity::User, &out(), Beside::default());
    assert_eq!(user, Verdict::Leak);
}

#[test]
fn what_gets_out_nowhere_proves_nothing() {
    let seen = refused("socket", libc::EPERM);
    for beside in [
        Beside::default(),
        Beside { same: Some(&seen), almighty: Some(&seen), filtered: None },
        Beside { almighty: Some(&done()), ..Beside::default() },
    ] {
        assert!(matches!(judged("icmp", &seen, beside), Verdict::NotTried { .. }));
    }
}

#[test]
fn a_connection_is_redirected_when_it_was_counted_and_arrived() {
    let beside = Beside { same: Some(&out()), ..Beside::default() };
    let taken = counted(Reason::Taken, done());
    let arrived = Observation { arrivals: vec!["TCP 1.2.3.4:443".into()], ..taken.clone() };
    assert_eq!(judged("tcp4", &arrived, beside), Verdict::Redirected);
    assert_eq!(judged("tcp4", &taken, beside), Verdict::Unexplained);
    assert_eq!(judged("tcp4", &done(), beside), Verdict::Unexplained);
}

#[test]
fn the_layer_is_read_off_the_evidence() {
    let (same, denied) = (out(), refused("socket", libc::EPERM));
    let filtered: BTreeMap<String, i32> = [("socket".to_owned(), libc::EAFNOSUPPORT)].into();
    let free = Beside { same: Some(&same), almighty: None, filtered: Some(&filtered) };
    let unprivileged = Beside { same: Some(&denied), almighty: Some(&same), filtered: Some(&filtered) };
    let hook = |reason, call| counted(reason, refused(call, libc::ECONNREFUSED));
    for (seen, beside, layer) in [
        (hook(Reason::Datagram, "connect"), free, Layer::Connect),
        (hook(Reason::Datagram, "sendto"), free, Layer::Sendmsg),
        (hook(Reason::SocketKind, "io_uring socket"), free, Layer::Create),
        (hook(Reason::RoutingOption, "setsockopt"), free, Layer::Setsockopt),
        (hook(Reason::ForeignListener, "connect"), free, Layer::Connect),
        (hook(Reason::UnservedNetns, "connect"), free, Layer::NoListener),
        (counted(Reason::Egress, done()), free, Layer::Egress),
        (counted(Reason::Ingress, refused("accept", libc::ETIMEDOUT)), free, Layer::Ingress),
        (refused("socket", libc::EAFNOSUPPORT), free, Layer::Seccomp),
        (refused("socket", libc::EPERM), unprivileged, Layer::Capability),
        (refused("open", libc::ENOENT), free, Layer::Mounts),
        (refused("write", libc::EROFS), free, Layer::Mounts),
        (refused("stat", libc::ENOTSOCK), free, Layer::Mounts),
        (refused("fcntl", libc::EBADF), free, Layer::Launcher),
        (refused("ptrace", libc::EPERM), free, Layer::Landlock),
    ] {
        assert_eq!(judged("udp4", &seen, beside), Verdict::Blocked { layer }, "{seen:?}");
    }
}

#[test]
fn what_no_evidence_explains_is_not_explained() {
    let beside = Beside { same: Some(&out()), ..Beside::default() };
    for seen in [refused("socket", libc::EACCES), refused("connect", libc::ENETUNREACH), done()] {
        assert_eq!(judged("udp4", &seen, beside), Verdict::Unexplained, "{seen:?}");
    }
    let isolated =
        judge(path("udp4"), Mode::Strict, Identity::User, &refused("connect", libc::ENETUNREACH), beside);
    assert_eq!(isolated, Verdict::Blocked { layer: Layer::Netns });
}

#[test]
fn a_filter_is_told_by_answering_a_call_that_cannot_succeed_otherwise() {
    let free = [("bpf".to_owned(), libc::EINVAL), ("setns".to_owned(), libc::EBADF)].into();
    let confined = [("bpf".to_owned(), libc::EPERM), ("setns".to_owned(), libc::EBADF)].into();
    assert_eq!(filtered(&confined, &free), [("bpf".to_owned(), libc::EPERM)].into());
}
