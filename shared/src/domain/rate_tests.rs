use super::*;
use proptest::prelude::*;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
}

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

/// The answer as milliseconds: starts, then places.
fn asked(bucket: &mut Bucket, text: &str, number: u32, waited: bool, now: i64) -> (Vec<i64>, Vec<i64>) {
    let (answer, next) = ask(*bucket, rate(text), number, waited, ms(now));
    *bucket = next;
    let plain = |times: Vec<Timestamp>| times.iter().map(|at| at.as_millisecond() - ms(0).as_millisecond()).collect();
    (plain(answer.starts), plain(answer.places))
}

#[test]
fn a_rate_reads_back_as_it_was_written() {
    for text in ["10/s", "600/m", "1/h", "1000000/d", "2/s burst 10000"] {
        assert_eq!(rate(text).to_string(), text);
    }
    assert_eq!(rate(" 10/s  burst 1 "), Rate::new(10, Period::Second));
    for wrong in ["", "10", "10/", "/s", "0/s", "1000001/s", "+1/s", "-1/s", "1.5/s", "1/w", "1/s 2", "1/s burst 0"] {
        assert_eq!(wrong.parse::<Rate>(), Err(InvalidRate), "{wrong}");
    }
    assert_eq!(Rate::new(0, Period::Second).burst(0), rate("1/s"));
}

#[test]
fn an_empty_bucket_gives_its_burst_at_once_and_the_rest_in_turn() {
    let mut bucket = Bucket::default();
    assert_eq!(asked(&mut bucket, "10/s burst 3", 5, false, 0), (vec![0, 0, 0, 100, 200], vec![]));
    // What is over a second away has to wait in the line, in its turn.
    let (starts, places) = asked(&mut bucket, "10/s burst 3", 12, false, 0);
    assert_eq!((starts, places), ((3..=10).map(|i| i * 100).collect(), vec![1_100, 1_200, 1_300, 1_400]));
}

#[test]
fn nobody_new_goes_before_the_line_and_who_has_waited_is_served_by_the_rate() {
    let mut bucket = Bucket::default();
    assert_eq!(asked(&mut bucket, "1/s", 4, false, 0), (vec![0, 1_000], vec![2_000, 3_000]));
    assert_eq!(asked(&mut bucket, "1/s", 1, false, 1_500), (vec![], vec![4_000]));
    assert_eq!(asked(&mut bucket, "1/s", 1, true, 2_000), (vec![2_000], vec![]));
    // Two come at once, because the message of one was late.
    assert_eq!(asked(&mut bucket, "1/s", 2, true, 4_000), (vec![4_000, 5_000], vec![]));
    assert_eq!(asked(&mut bucket, "1/s", 1, true, 4_000), (vec![], vec![]), "once more, later");
    assert_eq!(asked(&mut bucket, "1/s", 1, false, 9_000), (vec![9_000], vec![]), "the line is gone");
}

#[test]
fn the_line_ends_at_the_horizon() {
    let mut bucket = Bucket::default();
    let (starts, places) = asked(&mut bucket, "1/m", 100, false, 0);
    assert_eq!((starts.len(), places.len(), places.last()), (1, 15, Some(&900_000)));
    assert_eq!(asked(&mut bucket, "1/m", 1, false, 0), (vec![], vec![]));
    assert_eq!(asked(&mut bucket, "1/m", 1, false, 60_000), (vec![], vec![960_000]));
}

#[test]
fn a_higher_rate_holds_at_once_whatever_the_lower_one_has_promised() {
    let mut bucket = Bucket::default();
    asked(&mut bucket, "1/d burst 10", 10, false, 0);
    assert_eq!(asked(&mut bucket, "1/d burst 10", 1, true, 0), (vec![], vec![]));
    assert_eq!(asked(&mut bucket, "10/s", 2, true, 1_000), (vec![2_000], vec![]));
    assert_eq!(asked(&mut bucket, "10/s", 2, true, 1_100), (vec![2_100], vec![]));
    let mut bucket = Bucket::default();
    asked(&mut bucket, "4/h", 3, false, 0);
    assert_eq!(asked(&mut bucket, "10/s", 1, false, 1_000), (vec![2_000], vec![]));
}

#[test]
fn a_tenants_own_limit_goes_before_each_tenants_and_the_operators_before_the_codes() {
    let (acme, other) = (Tenant::parse("acme").unwrap(), Tenant::parse("other").unwrap());
    let policy = Policy { all: Some(rate("100/s")), each_tenant: Some(rate("50/s")) };
    let names = |gates: [Option<Gate>; 2]| gates.map(|gate| gate.map(|gate| format!("{} {}", gate.bucket, gate.rate)));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(names(gates("echo", &acme, Policy::default(), &[])), [None, None]);
    assert_eq!(names(gates("echo", &acme, policy, &[])), [some("echo#acme 50/s"), some("echo 100/s")]);
    let limit = |kind: &str, whose, text: &str| Limit { kind: kind.into(), whose, rate: rate(text) };
    let set = [
        limit("echo", Whose::Tenant(acme.clone()), "1/s"),
        limit("echo", Whose::EachTenant, "2/s"),
        limit("echo", Whose::All, "3/s"),
        limit("welcome", Whose::All, "4/s"),
    ];
    assert_eq!(names(gates("echo", &acme, policy, &set)), [some("echo#acme 1/s"), some("echo 3/s")]);
    assert_eq!(names(gates("echo", &other, policy, &set)), [some("echo#other 2/s"), some("echo 3/s")]);
    assert_eq!(names(gates("welcome", &acme, Policy::default(), &set)), [None, some("welcome 4/s")]);
}

fn any_rate() -> impl Strategy<Value = Rate> {
    (1u32..2_000, 0usize..4, 1u32..30).prop_map(|(jobs, per, burst)| Rate::new(jobs, Period::ALL[per]).burst(burst))
}

proptest! {
    /// Whoever asks and whenever: in any stretch of time no more start than rate x time + burst.
    #[test]
    fn never_more_than_the_rate_and_a_burst(
        rate in any_rate(),
        asks in prop::collection::vec((0i64..3_000, 1u32..12, any::<bool>()), 1..80),
    ) {
        let (mut bucket, mut now, mut starts, mut places) = (Bucket::default(), 0, Vec::new(), Vec::new());
        for (passed, number, waited) in asks {
            now += passed;
            let (answer, next) = ask(bucket, rate, number, waited, ms(now));
            prop_assert!(answer.starts.len() + answer.places.len() <= number as usize);
            prop_assert!(answer.starts.iter().all(|at| (ms(now)..=ms(now) + SOON).contains(at)));
            prop_assert!(answer.places.iter().all(|at| *at > ms(now) && *at <= ms(now) + HORIZON));
            prop_assert!(answer.places.is_empty() || !waited);
            starts.extend(answer.starts);
            places.extend(answer.places);
            bucket = next;
        }
        prop_assert!(places.windows(2).all(|two| two[1].duration_since(two[0]) >= rate.interval()));
        starts.sort();
        let interval = rate.interval().as_micros();
        for (i, first) in starts.iter().enumerate() {
            for (j, last) in starts.iter().enumerate().skip(i) {
                let most = last.duration_since(*first).as_micros() / interval + i128::from(rate.burst);
                prop_assert!((j - i + 1) as i128 <= most, "{} starts from {first} to {last}", j - i + 1);
            }
        }
    }

    /// As long as somebody who has waited asks, nothing of the rate is lost.
    #[test]
    fn never_less_than_the_rate_when_it_is_asked_for(rate in any_rate(), step in 1i64..1_000, steps in 1i64..60) {
        let (mut bucket, mut starts) = (Bucket::default(), 0);
        for i in 0..steps {
            let (answer, next) = ask(bucket, rate, 3_000, true, ms(i * step));
            starts += answer.starts.len() as i128;
            bucket = next;
        }
        let passed = i128::from((steps - 1) * step) * 1_000;
        prop_assert!(starts >= passed / rate.interval().as_micros() + i128::from(rate.burst), "{starts}");
    }

    #[test]
    fn any_text_is_a_rate_or_not(text in ".{0,30}") {
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}
