use super::*;
use proptest::prelude::*;

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn ten() -> SendTime {
    SendTime::parse("10:00").unwrap()
}

fn timing(when: When, whose: Whose) -> Timing {
    Timing { when, whose, send_at: ten(), time_zone: zone("Europe/Berlin"), days: None, past: Past::Now }
}

#[test]
fn ten_in_the_morning_is_local() {
    let from = ts("2026-07-01T00:00:00Z");
    assert_eq!(next(from, ten(), None, &zone("Europe/Berlin")), ts("2026-07-01T08:00:00Z"));
    assert_eq!(next(from, ten(), None, &zone("America/New_York")), ts("2026-07-01T14:00:00Z"));
    assert_eq!(next(from, ten(), None, &zone("Asia/Kathmandu")), ts("2026-07-01T04:15:00Z"));
    assert_eq!(next(ts("2026-07-01T08:00:00Z"), ten(), None, &zone("Europe/Berlin")), ts("2026-07-01T08:00:00Z"));
    assert_eq!(next(ts("2026-07-01T08:00:00.001Z"), ten(), None, &zone("Europe/Berlin")), ts("2026-07-02T08:00:00Z"));
}

#[test]
fn a_gap_moves_forward_and_a_fold_takes_the_first() {
    let half_past_two = SendTime::parse("02:30").unwrap();
    let berlin = zone("Europe/Berlin");
    // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
    assert_eq!(next(ts("2026-03-28T23:00:00Z"), half_past_two, None, &berlin), ts("2026-03-29T01:30:00Z"));
    assert_eq!(next(ts("2026-10-24T23:00:00Z"), half_past_two, None, &berlin), ts("2026-10-25T00:30:00Z"));
}

#[test]
fn weekdays_are_those_of_the_zone() {
    let monday = Weekdays::parse(["mon"]).unwrap();
    // Sunday 2026-07-05, 23:00 in UTC: Monday in Auckland since 11:00.
    let from = ts("2026-07-05T23:00:00Z");
    assert_eq!(next(from, ten(), Some(monday), &zone("Pacific/Auckland")), ts("2026-07-12T22:00:00Z"));
    assert_eq!(next(from, ten(), Some(monday), &zone("Europe/Berlin")), ts("2026-07-06T08:00:00Z"));
    assert_eq!(Vec::<String>::from(Weekdays::parse(["sun", "mon", "mon"]).unwrap()), ["mon", "sun"]);
    assert!(Weekdays::parse(["monday"]).is_err());
    assert!(Weekdays::parse([""; 0]).is_err());
}

#[test]
fn a_dated_campaign_opens_before_anybody_is_due() {
    let dated = timing(When::On("2026-07-03".parse().unwrap()), Whose::Recipient);
    let started = ts("2026-07-01T12:00:00Z");
    let opens = dated.opens(started).unwrap();
    assert_eq!(opens, ts("2026-07-02T20:00:00Z"));
    assert_eq!(dated.due(Some(&zone("Pacific/Kiritimati")), started, opens), Some(opens));
    assert_eq!(dated.due(Some(&zone("Pacific/Pago_Pago")), started, opens), Some(ts("2026-07-03T21:00:00Z")));
    assert_eq!(dated.due(None, started, opens), Some(ts("2026-07-03T08:00:00Z")));
    // Opened late: whose hour is past is due at once.
    let late = ts("2026-07-03T09:00:00Z");
    assert_eq!(dated.due(None, started, late), Some(late));
    let all_at_once = Timing { whose: Whose::Newsletter, ..dated };
    assert_eq!(all_at_once.opens(started).unwrap(), ts("2026-07-03T08:00:00Z"));
    assert_eq!(all_at_once.due(Some(&zone("Asia/Tokyo")), started, started), Some(ts("2026-07-03T08:00:00Z")));
}

#[test]
fn whose_hour_is_past_is_due_at_once_or_the_next_day_or_not_at_all() {
    let started = ts("2026-07-01T12:00:00Z");
    let late = ts("2026-07-03T09:00:00Z");
    let with = |past| Timing { past, ..timing(When::On("2026-07-03".parse().unwrap()), Whose::Recipient) };
    let berlin = |past| with(past).due(None, started, late);
    assert_eq!(berlin(Past::Now), Some(late));
    assert_eq!(berlin(Past::NextDay), Some(ts("2026-07-04T08:00:00Z")));
    assert_eq!(berlin(Past::Skip), None);
    for past in [Past::Now, Past::NextDay, Past::Skip] {
        let new_york = with(past).due(Some(&zone("America/New_York")), started, late);
        assert_eq!(new_york, Some(ts("2026-07-03T14:00:00Z")), "its hour is to come");
        // A campaign opens some minutes after its hour: that is not past.
        let opened = ts("2026-07-03T08:30:00Z");
        assert_eq!(with(past).due(None, started, opened), Some(opened));
    }
}

#[test]
fn dates_that_cannot_be_kept_are_refused() {
    let on = |date: &str| timing(When::On(date.parse().unwrap()), Whose::Recipient);
    // Still the 1st at UTC-12 until the 2nd, 12:00 in UTC.
    assert!(on("2026-07-01").opens(ts("2026-07-02T11:59:00Z")).is_ok());
    assert_eq!(on("2026-07-01").opens(ts("2026-07-02T12:00:00Z")), Err(DateRefused::Past));
    assert_eq!(on("2028-01-01").opens(ts("2026-07-02T12:00:00Z")), Err(DateRefused::Far));
    assert_eq!(on("9999-12-31").opens(ts("2026-07-02T12:00:00Z")), Err(DateRefused::Far));
    assert_eq!(on("-009999-01-01").opens(ts("2026-07-02T12:00:00Z")), Err(DateRefused::Past));
}

#[test]
fn texts_are_read_or_refused() {
    assert_eq!(zone("europe/berlin").as_str(), "Europe/Berlin");
    for bad in ["", "Mars/Olympus", "+02:00", "UTC+2", "../etc/passwd"] {
        assert!(Zone::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(SendTime::parse("09:05").unwrap().to_string(), "09:05");
    for bad in ["", "9:05", "24:00", "10:60", "10:00:00", "ab:cd", "+1:00"] {
        assert!(SendTime::parse(bad).is_err(), "{bad}");
    }
}

/// Every zone there is.
fn zones() -> Vec<Zone> {
    let zones: Vec<Zone> = jiff::tz::db().available().filter_map(|name| Zone::parse(name.as_str()).ok()).collect();
    assert!(zones.len() > 400, "the bundled database is there");
    zones
}

fn any_zone() -> impl Strategy<Value = Zone> {
    proptest::sample::select(zones())
}

/// Whether the clock of a zone is changed within a day of this instant.
fn clock_is_changed(rules: &TimeZone, near: Timestamp) -> bool {
    let day = SignedDuration::from_hours(24);
    rules.following(near - day).next().is_some_and(|change| change.timestamp() <= near + day)
}

/// The first minute from two days before a date to two days after it at which a zone's clock shows this or, where the clock
/// is put forward past it, more: looked for minute by minute.
fn looked_for(date: Date, time: SendTime, rules: &TimeZone) -> Timestamp {
    let wanted = date.to_datetime(time.0);
    let midnight = date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut minutes = (-2 * 24 * 60..2 * 24 * 60).map(|minute| midnight + SignedDuration::from_mins(minute));
    minutes.find(|minute| rules.to_datetime(*minute) >= wanted).unwrap()
}

/// On how many days of a year ten o'clock comes in a zone: checks that it does so once a day.
fn tens(zone: &Zone, year: i16) -> usize {
    let rules = zone.rules();
    let mut dates: Vec<Date> = Vec::new();
    let mut due = next(at(Date::new(year, 1, 1).unwrap(), ten(), &rules), ten(), None, zone);
    loop {
        let local = rules.to_datetime(due);
        if local.year() > year {
            return dates.len();
        }
        assert_eq!(local.time(), ten().0, "{zone}");
        assert!(dates.last().is_none_or(|before| *before < local.date()), "{zone}: {local} comes twice");
        if clock_is_changed(&rules, due) {
            assert_eq!(due, looked_for(local.date(), ten(), &rules), "{zone}");
        }
        dates.push(local.date());
        due = next(due + SignedDuration::from_nanos(1), ten(), None, zone);
    }
}

#[test]
fn everywhere_on_each_day_of_a_year_ten_oclock_comes_once() {
    for zone in zones() {
        assert_eq!(tens(&zone, 2026), 365, "{zone}");
    }
    assert_eq!(tens(&zone("Pacific/Apia"), 2011), 364, "Samoa left a day out");
}

#[test]
fn a_dated_campaign_is_due_once_for_a_reader_in_each_zone() {
    let started = ts("2025-12-30T00:00:00Z");
    for day in 0..365 {
        let date: Date = "2026-01-01".parse().unwrap();
        let date = date.checked_add(jiff::Span::new().days(day)).unwrap();
        let dated = timing(When::On(date), Whose::Recipient);
        let opened = dated.opens(started).unwrap();
        for zone in zones() {
            let due = dated.due(Some(&zone), started, opened).unwrap();
            assert_eq!(zone.rules().to_datetime(due), date.to_datetime(ten().0), "{zone}");
            assert!(due >= opened && due.duration_since(opened) <= SignedDuration::from_hours(26), "{zone}");
        }
    }
}

proptest! {
    #[test]
    fn next_is_the_first_such_moment(
        zone in any_zone(),
        second in 0i64..4_102_444_800,
        minute in 0u16..1440,
        days in 1u8..128,
    ) {
        let from = Timestamp::from_second(second).unwrap();
        let time = SendTime::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap();
        let days = Weekdays(days);
        let found = next(from, time, Some(days), &zone);
        prop_assert!(found >= from);
        // A day may be missing from a zone's calendar (Samoa, 2011-12-30), hence a day to spare.
        prop_assert!(found.duration_since(from) <= SignedDuration::from_hours(9 * 24));
        let local = Zoned::new(found, zone.rules());
        let wanted = local.date().to_datetime(time.0);
        if local.datetime() == wanted {
            prop_assert!(days.contains(local.weekday()));
        } else {
            // The time was in a gap, and moved forward out of it.
            prop_assert!(local.datetime() > wanted || local.date() != wanted.date());
            let before = Zoned::new(found - SignedDuration::from_hours(25), zone.rules());
            prop_assert!(before.offset() != local.offset(), "only a change of the clock moves it");
        }
    }

    #[test]
    fn nobody_is_due_before_the_campaign_opens(zone in any_zone(), day in 0i32..366, minute in 0u16..1440) {
        let started = ts("2026-01-01T00:00:00Z");
        let date: Date = "2026-01-01".parse().unwrap();
        let date = date.checked_add(jiff::Span::new().days(day)).unwrap();
        let send_at = SendTime::parse(&format!("{:02}:{:02}", minute / 60, minute % 60)).unwrap();
        let timing = Timing { send_at, ..timing(When::On(date), Whose::Recipient) };
        let opens = timing.opens(started).unwrap();
        prop_assert!(at(date, send_at, &zone.rules()) >= opens);
        prop_assert!(timing.due(Some(&zone), started, opens) >= Some(opens));
    }
}
