use super::*;
use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

/// The first ticks after a time, as an operator's wall clock shows them.
#[track_caller]
fn check(cron: &str, name: &str, from: &str, expected: &[&str]) {
    let (cron, zone) = (Cron::parse(cron).unwrap(), zone(name));
    let mut at = ts(from);
    for expected in expected {
        at = cron.next_after(at, &zone).expect("a tick");
        let zoned = Zoned::new(at, zone.rules());
        assert_eq!(zoned.strftime("%Y-%m-%d %H:%M %z").to_string(), *expected, "{}", cron.as_str());
    }
}

#[test]
fn five_fields_and_nothing_else() {
    for fine in ["* * * * *", "*/15 9-17 * * mon-fri", "0 0 1 JAN *", "0  12\t15 * 0", "59 23 L * *", "0 9 * * 1#1"] {
        assert!(Cron::parse(fine).is_ok(), "{fine}");
    }
    let long = format!("{} * * * *", ["1"; 100].join(","));
    for wrong in [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "@daily * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "a * * * *",
        "-1 * * * *",
        &long,
    ] {
        assert!(Cron::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Cron::parse(" 0  12\t15 * 0 ").unwrap().as_str(), "0 12 15 * 0");
}

#[test]
fn a_name_is_safe_in_a_path() {
    assert_eq!(ScheduleName::parse("nightly-report_2").unwrap().as_str(), "nightly-report_2");
    for wrong in ["", "a/b", "a b", "a#b", "ü", &"x".repeat(65)] {
        assert!(ScheduleName::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn it_ticks_on_the_wall_clock_of_its_zone() {
    check(
        "30 9 * * mon-fri",
        "Europe/Berlin",
        "2026-07-03T12:00:00Z",
        &["2026-07-06 09:30 +0200", "2026-07-07 09:30 +0200"],
    );
    check("30 9 * * *", "Asia/Kathmandu", "2026-07-03T12:00:00Z", &["2026-07-04 09:30 +0545"]);
    check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", &["2028-02-29 00:00 +0000", "2032-02-29 00:00 +0000"]);
    check("*/20 * * * *", "UTC", "2026-01-01T00:00:00Z", &["2026-01-01 00:20 +0000", "2026-01-01 00:40 +0000"]);
    // Either of the two days.
    check("0 12 13 * fri", "UTC", "2026-02-10T00:00:00Z", &["2026-02-13 12:00 +0000", "2026-02-20 12:00 +0000"]);
}

#[test]
fn a_time_of_day_that_is_skipped_ticks_right_after_the_gap() {
    // 2026-03-29: 02:00 becomes 03:00.
    let expected = ["2026-03-28 02:30 +0100", "2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"];
    check("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", &expected);
    // Half an hour is skipped there: 02:00 becomes 02:30.
    let expected = ["2026-10-03 02:15 +1030", "2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"];
    check("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T12:00:00Z", &expected);
}

#[test]
fn a_time_of_day_that_comes_twice_ticks_at_the_first() {
    // 2026-10-25: 03:00 becomes 02:00.
    let expected = ["2026-10-24 02:30 +0200", "2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"];
    check("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z", &expected);
}

#[test]
fn what_ticks_again_and_again_skips_the_gap_and_takes_both_halves_of_the_fold() {
    let expected = ["2026-03-29 01:30 +0100", "2026-03-29 03:00 +0200", "2026-03-29 03:30 +0200"];
    check("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &expected);
    let expected = [
        "2026-10-25 02:00 +0200",
        "2026-10-25 02:30 +0200",
        "2026-10-25 02:00 +0100",
        "2026-10-25 02:30 +0100",
        "2026-10-25 03:00 +0100",
    ];
    check("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", &expected);
}

#[test]
fn what_never_comes_is_found_out_soon() {
    let begun = std::time::Instant::now();
    assert_eq!(Cron::parse("0 0 30 2 *").unwrap().next_after(ts("2026-01-01T00:00:00Z"), &zone("Europe/Berlin")), None);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

fn wanted(cron: &str) -> Wanted {
    let job = Template {
        kind: "echo".into(),
        payload: json!({}),
        priority: Priority::High,
        max_attempts: None,
        timeout: None,
        callback_url: None,
        tags: vec![],
    };
    Wanted { cron: Cron::parse(cron).unwrap(), time_zone: zone("UTC"), job }
}

fn schedule(cron: &str, now: Timestamp) -> Schedule {
    Schedule::new(Tenant::parse("t").unwrap(), ScheduleName::parse("n").unwrap(), wanted(cron), now)
}

#[test]
fn missed_ticks_are_caught_up_on_once() {
    let begun = ts("2026-01-01T00:00:30Z");
    let schedule = schedule("*/10 * * * *", begun);
    let tick = ts("2026-01-01T00:10:00Z");
    assert_eq!(schedule.next, Some(tick));
    // On time, or ahead of it.
    assert_eq!(schedule.ticked(tick, ts("2026-01-01T00:09:10Z")).next, Some(ts("2026-01-01T00:20:00Z")));
    // Three hours late.
    let late = schedule.ticked(tick, ts("2026-01-01T03:05:00Z"));
    assert_eq!(late.next, Some(ts("2026-01-01T03:10:00Z")));
    assert_eq!(late.runs, [Run { at: tick, job: schedule.job_id(tick) }]);
}

#[test]
fn putting_the_same_again_loses_no_tick_and_other_times_count_anew() {
    let schedule = schedule("*/10 * * * *", ts("2026-01-01T00:00:30Z"));
    let later = ts("2026-01-01T05:03:00Z");
    let same = schedule.replaced(wanted(" */10 * * * *"), later);
    assert_eq!((same.next, same.version), (schedule.next, 2), "the overdue tick stays");
    assert_eq!((same.created_at, same.updated_at), (schedule.created_at, later));
    let ticked = same.ticked(same.next.unwrap(), later);
    let other = ticked.replaced(wanted("0 7 * * *"), later);
    assert_eq!(other.next, Some(ts("2026-01-01T07:00:00Z")));
    assert_eq!((other.version, &other.runs), (4, &ticked.runs));
}

#[test]
fn what_runs_next_is_the_first_that_is_still_to_come() {
    let mut schedule = schedule("* * * * *", ts("2026-01-01T00:00:30Z"));
    for _ in 0..3 {
        schedule = schedule.ticked(schedule.next.unwrap(), schedule.created_at);
    }
    assert_eq!(schedule.runs.len(), Schedule::RUNS_KEPT);
    let now = ts("2026-01-01T00:01:30Z");
    assert_eq!(schedule.next_run_at(now), Some(ts("2026-01-01T00:02:00Z")), "its job is made already");
    assert_eq!(schedule.last_run(now).map(|run| run.at), Some(ts("2026-01-01T00:01:00Z")));
    let later = ts("2026-01-01T00:03:00Z");
    assert_eq!(schedule.next_run_at(later), Some(ts("2026-01-01T00:04:00Z")));
    assert_eq!(schedule.last_run(later).map(|run| run.at), Some(later));
}

#[test]
fn a_tick_has_one_job() {
    let one = schedule("* * * * *", ts("2026-01-01T00:00:00Z"));
    let other = Schedule { name: ScheduleName::parse("m").unwrap(), ..one.clone() };
    let (a, b) = (ts("2026-01-01T00:01:00Z"), ts("2026-01-01T00:02:00Z"));
    assert_eq!(one.job_id(a), one.replaced(wanted("0 0 * * *"), b).job_id(a));
    assert_ne!(one.job_id(a), one.job_id(b));
    assert_ne!(one.job_id(a), other.job_id(a));
}

/// Zones with every kind of clock change, and none.
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Chatham",
    "America/Santiago",
];

fn any_cron() -> impl Strategy<Value = String> {
    let minute = prop_oneof!["[0-9]|[1-5][0-9]", Just("*".to_owned()), Just("*/7".to_owned()), Just("0,30".to_owned())];
    let hour = prop_oneof![
        "[0-9]|1[0-9]|2[0-3]",
        "[0-3]",
        Just("*".to_owned()),
        Just("*/2".to_owned()),
        Just("1-3".to_owned())
    ];
    let day = prop_oneof![3 => Just("*".to_owned()), 1 => "[1-9]|1[0-9]|2[0-8]", 1 => Just("L".to_owned())];
    let month = prop_oneof![3 => Just("*".to_owned()), 1 => "[1-9]|1[0-2]"];
    let weekday = prop_oneof![3 => Just("*".to_owned()), 1 => "[0-7]", 1 => Just("mon-fri".to_owned())];
    (minute, hour, day, month, weekday).prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

/// The fields of an expression of one time of day.
fn time_of_day(cron: &Cron) -> Option<(i8, i8)> {
    let mut fields = cron.as_str().split(' ');
    let (minute, hour) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((hour, minute))
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "[-0-9*/,a-zA-Z#LW?@ ]{0,40}") {
        if let Ok(cron) = Cron::parse(&text) {
            let again = Cron::parse(cron.as_str()).unwrap();
            prop_assert_eq!(again.as_str(), cron.as_str());
        }
    }

    #[test]
    fn ticks_go_forward_on_whole_minutes_of_the_wall_clock(
        cron in any_cron(), name in prop::sample::select(&ZONES[..]), from in 1_700_000_000_i64..2_000_000_000, ms in 0i32..1_000,
    ) {
        let (cron, zone) = (Cron::parse(&cron).unwrap(), zone(name));
        let mut at = Timestamp::new(from, ms * 1_000_000).unwrap();
        for _ in 0..5 {
            let next = cron.next_after(at, &zone).expect("it recurs");
            prop_assert!(next > at, "{next} after {at}");
            let wall = Zoned::new(next, zone.rules());
            prop_assert_eq!((wall.second(), wall.subsec_nanosecond()), (0, 0));
            if let Some((hour, minute)) = time_of_day(&cron)
                && (wall.hour(), wall.minute()) != (hour, minute)
            {
                // Only right after a gap that has this time in it.
                let rules = zone.rules();
                let named = rules.to_ambiguous_timestamp(wall.date().at(hour, minute, 0, 0));
                prop_assert!(named.is_ambiguous(), "{wall} for {hour}:{minute}");
            }
            at = next;
        }
    }

    #[test]
    fn every_day_has_its_time_of_day_once(
        hour in 0i8..24, minute in 0i8..60, name in prop::sample::select(&ZONES[..]), from in 1_700_000_000_i64..1_900_000_000,
    ) {
        let (cron, zone) = (Cron::parse(&format!("{minute} {hour} * * *")).unwrap(), zone(name));
        let mut at = Timestamp::from_second(from).unwrap();
        at = cron.next_after(at, &zone).unwrap();
        // Over a year, so over each of its clock changes.
        let mut day = Zoned::new(at, zone.rules()).date();
        for _ in 0..370 {
            at = cron.next_after(at, &zone).unwrap();
            let next = Zoned::new(at, zone.rules()).date();
            prop_assert_eq!(next, day.tomorrow().unwrap());
            day = next;
        }
    }

    #[test]
    fn where_it_begins_to_look_makes_no_difference(
        cron in any_cron(), name in prop::sample::select(&ZONES[..]), from in 1_700_000_000_i64..2_000_000_000, part in 0.0f64..1.0,
    ) {
        let (cron, zone) = (Cron::parse(&cron).unwrap(), zone(name));
        let from = Timestamp::from_second(from).unwrap();
        let next = cron.next_after(from, &zone).unwrap();
        // From anywhere before the tick, the same tick is next.
        let between = from + SignedDuration::from_secs_f64((next.duration_since(from).as_secs_f64() * part).floor());
        prop_assert_eq!(cron.next_after(between.min(next - Duration::from_secs(1)), &zone), Some(next));
    }
}
