//! A minute of an agent's questions, by hand.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Takes names until one is refused; gives those that passed and why the next did not.
fn until_refused(
    meter: &mut Meter,
    limits: &Limits,
    now: Instant,
    mut name: impl FnMut(usize) -> String,
) -> (Vec<String>, String) {
    let mut passed = Vec::new();
    for number in 0..100_000 {
        let name = name(number);
        match meter.take(limits, &name, now) {
            Ok(()) => passed.push(name),
            Err(why) => return (passed, why),
        }
    }
    panic!("nothing was ever refused");
}

fn random_label(length: usize) -> String {
    (0..length).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[rand::random_range(0..32)])).collect()
}

#[test]
fn what_random_labels_below_one_parent_carry_is_bounded_and_comes_back_with_time() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut meter = Meter::new(&limits, now);
    let label = |_| format!("{}.{}.acme.internal", random_label(63), random_label(63));
    let (passed, why) = until_refused(&mut meter, &limits, now, label);
    assert!(why.ends_with("below acme.internal: dns.new_bytes_per_minute"), "{why}");
    // Five bits a letter were put in.
    let carried = passed.len() * 126 * 5 / 8;
    assert!((1000..=2048).contains(&carried), "{carried}");

    assert!(meter.take(&limits, "a.elsewhere.example", now).is_ok(), "only below this parent");
    assert!(meter.take(&limits, &passed[0], now).is_ok(), "and only what is new");
    let (again, _) = until_refused(&mut meter, &limits, now + MINUTE, label);
    assert!(again.len() <= passed.len(), "{} > {}", again.len(), passed.len());
}

#[test]
fn short_new_names_are_bounded_by_their_number() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut meter = Meter::new(&limits, now);
    let (passed, why) = until_refused(&mut meter, &limits, now, |number| format!("n{number}.acme.internal"));
    assert_eq!(passed.len(), 100);
    assert!(why.contains("100 new names a minute below acme.internal"), "{why}");
}

#[test]
fn many_parents_do_not_add_up_to_more_than_ten() {
    let (limits, now) = (Limits { questions_per_second: 10_000, ..Limits::default() }, Instant::now());
    let mut meter = Meter::new(&limits, now);
    // Neither one domain for each name nor names that are domains themselves.
    let name = |number: usize| {
        if number.is_multiple_of(2) { format!("x.d{number}.example") } else { format!("h{number}.internal") }
    };
    let (passed, why) = until_refused(&mut meter, &limits, now, name);
    assert_eq!(passed.len(), 1000);
    assert!(why.contains("1000 new names a minute in all"), "{why}");
}

#[test]
fn labels_that_were_seen_still_count_for_their_order() {
    let (limits, now) = (Limits { new_names_per_minute: 100_000, ..Limits::default() }, Instant::now());
    let mut meter = Meter::new(&limits, now);
    let digit = |number: usize, place: u32| {
        char::from(b'a' + u8::try_from(number / 26usize.pow(place) % 26).unwrap())
    };
    let name = |number: usize| {
        format!("{}.{}.{}.acme.internal", digit(number, 0), digit(number, 1), digit(number, 2))
    };
    let (passed, why) = until_refused(&mut meter, &limits, now, name);
    assert!(why.contains("dns.new_bytes_per_minute"), "{why}");
    // Each of these names says 14 bits.
    assert!(passed.len() * 14 / 8 <= 2048, "{}", passed.len());
}

#[test]
fn known_names_are_limited_by_their_pace_alone() {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut meter = Meter::new(&limits, now);
    let (passed, why) = until_refused(&mut meter, &limits, now, |_| "crm.acme.internal".into());
    assert_eq!(passed.len(), 1000, "ten seconds' worth at once");
    assert!(why.contains("dns.questions_per_second"), "{why}");
    let (later, _) = until_refused(&mut meter, &limits, now + SECOND, |_| "crm.acme.internal".into());
    assert_eq!(later.len(), 100);
}

#[test]
fn an_hour_of_a_busy_programs_names_is_refused_nothing() {
    let limits = Limits::default();
    let mut now = Instant::now();
    let mut meter = Meter::new(&limits, now);
    for minute in 0..60 {
        for bucket in 0..40 {
            let hash = random_label(32);
            let name = format!("acme-data-{hash}-{minute}-{bucket}.s3.us-east-1.amazonaws.com");
            for _ in 0..10 {
                assert_eq!(meter.take(&limits, &name, now), Ok(()));
            }
            now += MINUTE / 40;
        }
    }
}

#[test]
fn memory_is_bounded_and_a_full_table_makes_room_for_what_is_new() {
    let limits = Limits {
        questions_per_second: 1_000_000,
        new_names_per_minute: 1_000_000,
        new_bytes_per_minute: u32::MAX,
        ..Limits::default()
    };
    let now = Instant::now();
    let mut meter = Meter::new(&limits, now);
    let (passed, why) = until_refused(&mut meter, &limits, now, |number| format!("x.d{number}.example"));
    assert_eq!(passed.len(), PARENTS);
    assert!(why.contains("more than 4096 domains"), "{why}");
    assert!(meter.take(&limits, "x.late.example", now + MINUTE).is_ok());
    for number in 0..2 * REMEMBERED {
        meter.take(&limits, &format!("h{number}.late.example"), now + MINUTE).unwrap();
    }
    assert!(meter.seen.len() <= REMEMBERED && meter.parents.len() <= PARENTS);
}
