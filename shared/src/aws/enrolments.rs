//! How far a subscriber is in a sequence, as attributes of its item.

use super::item::{Item, corrupt, ms, n, number, optional_text, optional_time, s, text, time};
use crate::domain::sequence::{End, Enrolment};
use crate::ports::PortError;
use aws_sdk_dynamodb::types::AttributeValue;

/// The attributes of an enrolment. Each is one of its own, so that conditions can name it. None is ever removed.
pub(super) fn write_enrolment(enrolment: &Enrolment) -> Vec<(&'static str, AttributeValue)> {
    let mut attributes = vec![
        ("seq_edition", s(&enrolment.edition)),
        (SEQUENCE_AT, ms(enrolment.started_at)),
        ("seq_steps", n(enrolment.steps)),
        ("seq_taken", n(enrolment.taken)),
    ];
    attributes.extend(enrolment.next_at.map(|at| ("seq_next_at", ms(at))));
    if let Some((why, at)) = enrolment.ended {
        attributes.extend([("seq_end", s(why.as_str())), ("seq_ended_at", ms(at))]);
    }
    attributes
}

/// When an enrolment began. It is there when one is.
pub(super) const SEQUENCE_AT: &str = "seq_at";

pub(super) fn read_enrolment(item: &Item) -> Result<Option<Enrolment>, PortError> {
    if !item.contains_key(SEQUENCE_AT) {
        return Ok(None);
    }
    let end =
        optional_text(item, "seq_end").map(|end| End::parse(end).ok_or_else(|| corrupt("seq_end"))).transpose()?;
    let (steps, taken) = (number(item, "seq_steps")?, number(item, "seq_taken")?);
    Ok(Some(Enrolment {
        edition: text(item, "seq_edition")?.to_owned(),
        started_at: time(item, SEQUENCE_AT)?,
        steps,
        taken,
        next_at: optional_time(item, "seq_next_at").filter(|_| taken < steps && end.is_none()),
        ended: end.map(|end| Ok((end, time(item, "seq_ended_at")?))).transpose()?,
    }))
}
