//! What must be mended before a campaign starts: its letter for real readers, its sender, the account.

use crate::app::Api;
use crate::auth::{AudienceRead, Caller};
use crate::compose;
use crate::extract::Id;
use crate::problem::{Answer, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::campaigns::{find, sentence, stored};
use crate::routes::newsletters;
use axum::Json;
use axum::extract::State;
use futures::future::{try_join, try_join_all};
use millrace::domain::campaign::{Campaign, CampaignState};
use millrace::domain::id::{CampaignId, SubscriberId};
use millrace::domain::letter::{GMAIL_CUTS, Letter, LetterError, Letterhead, Part, Recipient, StoredLetter};
use millrace::domain::local_time::Timing;
use millrace::domain::people::{Newsletter, Subscriber};
use millrace::domain::preflight::{self, Finding, Severity};
use millrace::letters;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Readers that the letter is rendered for.
const SAMPLE: usize = 50;
/// Subscribers looked at to find them, and read at once.
const LOOKED_AT: usize = 1_000;
const PAGE: usize = 200;

/// Something that is not as it should be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FindingView {
    /// `error`: the campaign does not start. `warning`: it does.
    #[schema(example = "error")]
    pub severity: String,
    /// Where in the campaign, as a JSON pointer; below `/newsletter` in its newsletter. Empty when nothing in it is at fault.
    #[schema(example = "/newsletter/from")]
    pub pointer: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

/// What a campaign's preflight found.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PreflightAnswer {
    /// Whether it can start: nothing found is an error.
    pub ready: bool,
    /// How many of its readers the letter was rendered for.
    pub readers: usize,
    /// What was found, errors first.
    pub findings: Vec<FindingView>,
}

/// Look at a campaign before it starts.
///
/// The letter is rendered for up to 50 real readers; the newsletter's sender must be verified with SES, and the account able
/// to send. Nothing is sent or changed. A start looks at the same and refuses what has errors.
#[utoipa::path(
    get, path = "/v1/campaigns/{id}/preflight", operation_id = "preflight_campaign", tag = "newsletters", security(("key" = ["audience:read"])),
    params(("id" = String, Path, description = "The campaign")),
    responses((status = 200, body = PreflightAnswer), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<CampaignId>,
) -> Answer<Json<PreflightAnswer>> {
    let campaign = find(&api, &caller.tenant, &id).await?.campaign;
    let Examined { readers, mut findings, .. } = examine(&api, &campaign).await?;
    if campaign.state == CampaignState::Draft
        && let Err(why) = campaign.timing.opens(api.now())
    {
        findings.push(Finding::error("/send/when", format!("{} Give it another date.", sentence(&why.to_string()))));
    }
    findings.sort_by_key(|finding| finding.severity == Severity::Warning);
    let view = |finding: Finding| FindingView {
        severity: finding.severity.as_str().to_owned(),
        pointer: finding.pointer,
        detail: finding.detail,
    };
    let ready = findings.iter().all(|finding| finding.severity != Severity::Error);
    Ok(Json(PreflightAnswer { ready, readers, findings: findings.into_iter().map(view).collect() }))
}

/// The draft as it would start now: with what it takes from its newsletter.
///
/// # Errors
/// 422 when something must be mended first.
pub(crate) async fn enforce(api: &Api, draft: &Campaign) -> Answer<Campaign> {
    let examined = examine(api, draft).await?;
    let errors = examined.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let faults: Vec<Fault> = errors.map(|finding| Fault::at(finding.pointer.as_str(), &finding.detail)).collect();
    let (Some(letter), Some(newsletter), true) = (examined.letter, examined.newsletter, faults.is_empty()) else {
        return Err(Problem::invalid(faults));
    };
    let version = letters::store(&*api.intake.blobs, &draft.id, &letter).await?;
    let Newsletter { send_at, time_zone, days, tracking: tracked, .. } = newsletter;
    let timing = Timing { send_at, time_zone, days, ..draft.timing.clone() };
    if version == draft.letter && timing == draft.timing {
        return Ok(Campaign { tracked, ..draft.clone() });
    }
    let revised = draft.revised(draft.subject.clone(), version, timing, draft.segment.clone(), draft.rules);
    let revised = revised.map(|revised| Campaign { tracked, ..revised });
    revised.map_err(|why| Problem::conflict(sentence(&why.to_string())))
}

/// What was found, and what a start needs.
struct Examined {
    letter: Option<StoredLetter>,
    newsletter: Option<Newsletter>,
    readers: usize,
    findings: Vec<Finding>,
}

async fn examine(api: &Api, campaign: &Campaign) -> Answer<Examined> {
    let mut examined = Examined { letter: None, newsletter: None, readers: 0, findings: Vec::new() };
    let Some(newsletter) = newsletters::find(api, &campaign.tenant, &campaign.newsletter).await? else {
        examined.findings.push(Finding::error("/newsletter", "there is no such newsletter any more"));
        return Ok(examined);
    };
    let (outside, readers) = try_join(outside(api, &newsletter), readers(api, campaign)).await?;
    examined.findings.extend(outside);
    examined.readers = readers.len();
    if readers.is_empty() {
        let detail = "none of the subscribers looked at would get this letter: is the segment right, and has the newsletter subscribers?";
        examined.findings.push(Finding::warning("/segment", detail));
    }
    match current(api, campaign, &newsletter).await? {
        Ok(letter) => {
            examined.findings.extend(rendered(api, campaign, &letter, &readers));
            examined.letter = Some(letter);
        }
        Err(faults) => {
            let finding = |fault: Fault| Finding::error(fault.pointer.unwrap_or_default(), fault.detail);
            examined.findings.extend(faults.into_iter().map(finding));
        }
    }
    examined.newsletter = Some(newsletter);
    Ok(examined)
}

/// A campaign's letter as it goes out: a draft's with its newsletter as it is now.
pub(crate) async fn current(
    api: &Api,
    campaign: &Campaign,
    newsletter: &Newsletter,
) -> Answer<Result<StoredLetter, Vec<Fault>>> {
    let letter = stored(api, campaign).await?;
    Ok(match campaign.state {
        CampaignState::Draft => compose::letter(letter.manuscript, Letterhead::of(newsletter)),
        _ => Ok(letter),
    })
}

/// What is to be said of the sender and of the account.
async fn outside(api: &Api, newsletter: &Newsletter) -> Answer<Vec<Finding>> {
    let from = &newsletter.from.address;
    let names = preflight::identities_of(from);
    let identities = try_join_all(names.iter().map(|name| api.identities.identity(name)));
    let (account, identities) = try_join(api.account.account(), identities).await?;
    let known: Vec<_> =
        names.iter().cloned().zip(identities).filter_map(|(name, identity)| Some((name, identity?))).collect();
    Ok([preflight::sender(from, &known), preflight::account(&account)].concat())
}

/// Some of those who would get the letter.
async fn readers(api: &Api, campaign: &Campaign) -> Answer<Vec<Subscriber>> {
    let (mut readers, mut looked_at, mut after) = (Vec::new(), 0, None::<String>);
    while readers.len() < SAMPLE && looked_at < LOOKED_AT {
        let page = api.subscribers.page(&campaign.newsletter, after.as_deref(), PAGE).await?;
        looked_at += page.subscribers.len();
        after = page.subscribers.last().map(|last| last.key.digest().to_owned());
        readers.extend(page.subscribers.into_iter().filter(|one| campaign.segment.takes(one)));
        if page.last || after.is_none() {
            break;
        }
    }
    readers.truncate(SAMPLE);
    Ok(readers)
}

/// What is to be said of the letter as these readers would get it.
fn rendered(api: &Api, campaign: &Campaign, stored: &StoredLetter, readers: &[Subscriber]) -> Vec<Finding> {
    let letter = match Letter::new(&stored.templates, &stored.head) {
        Ok(letter) => letter,
        Err(error) => return vec![finding(stored, &error, "")],
    };
    let public_copy = letters::public_copy(&api.public_url, &stored.head, campaign);
    let archive_url = public_copy.as_deref();
    let link = format!("{}/unsubscribe?token=preflight", api.public_url);
    // Each problem once, with how many have it and who is the first of them.
    let mut problems: Vec<(LetterError, usize, SubscriberId)> = Vec::new();
    let mut longest = 0;
    for reader in readers {
        let Subscriber { name, email, tags, .. } = reader;
        let recipient =
            Recipient { name: name.as_deref(), email: email.as_str(), tags, unsubscribe_url: &link, archive_url };
        match letter.render(&recipient) {
            Ok(mail) => longest = longest.max(mail.html.len()),
            Err(error) => match problems.iter_mut().find(|(known, ..)| *known == error) {
                Some((_, count, _)) => *count += 1,
                None => problems.push((error, 1, reader.id())),
            },
        }
    }
    let looked_at = readers.len();
    let mut findings: Vec<Finding> = problems
        .iter()
        .map(|(error, count, first)| {
            let whom = format!("for {count} of {looked_at} readers looked at (preview it as {first}): ");
            finding(stored, error, &whom)
        })
        .collect();
    if public_copy.is_some()
        && let Err(error) = letter.render(&letters::anonymous(&link, archive_url))
    {
        findings.push(finding(stored, &error, "in the archive, where nobody is named: "));
    }
    if longest > GMAIL_CUTS {
        let detail = format!(
            "it has {} KB of HTML: Gmail hides what is beyond 102 KB, and with it the link that unsubscribes",
            longest / 1024
        );
        findings.push(Finding::warning(format!("/body/{}", stored.manuscript.body.language()), detail));
    }
    findings
}

fn finding(stored: &StoredLetter, error: &LetterError, whom: &str) -> Finding {
    let pointer = match error.part {
        Part::Subject => "/subject".to_owned(),
        Part::Text if stored.manuscript.text.is_some() => "/text".to_owned(),
        Part::Html | Part::Text => format!("/body/{}", stored.manuscript.body.language()),
    };
    Finding::error(pointer, format!("{whom}{}", error.problem))
}
