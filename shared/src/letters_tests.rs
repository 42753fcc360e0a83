use super::*;
use crate::domain::id::CampaignId;
use crate::domain::local_time::When;
use crate::domain::people::Segment;
use crate::domain::token::{Claim, TOKEN_KEY_BYTES, TokenKey};
use crate::testing::MemoryBlobs;
use crate::testing::builders::{draft, letter, newsletter, reader, tenant};
use jiff::Timestamp;

fn tokens() -> Tokens {
    Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into())
}

fn mail(letter: StoredLetter, archive_url: Option<&str>) -> Mail {
    let (subscriber, tokens) = (reader(1), tokens());
    let public_url = "https://api.example.com";
    let unsubscribe_url = unsubscribe_url(&tokens, public_url, &tenant(), &subscriber.id());
    let links = Links { public_url, unsubscribe_url: &unsubscribe_url, archive_url };
    let ready = Ready::new(letter).unwrap();
    ready.mail(Reader::from(&subscriber), links, vec![("a".into(), "b".into())]).unwrap()
}

fn header<'a>(mail: &'a Mail, name: &str) -> Option<&'a str> {
    mail.headers.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_letter_is_found_under_its_version_and_never_changes() {
    let blobs = Arc::new(MemoryBlobs::default());
    let campaign = CampaignId::derived(&["c"]);
    let one = store(&*blobs, &campaign, &letter("One")).await.unwrap();
    assert_eq!(store(&*blobs, &campaign, &letter("One")).await.unwrap(), one);
    let two = store(&*blobs, &campaign, &letter("Two")).await.unwrap();
    assert_ne!(one, two);
    assert_eq!(load(&*blobs, &key(&campaign, &one)).await.unwrap(), letter("One"));

    let letters = Letters::new(blobs.clone());
    let ready = letters.get(&key(&campaign, &two)).await.unwrap();
    assert!(Arc::ptr_eq(&ready, &letters.get(&key(&campaign, &two)).await.unwrap()), "it is read once");
    blobs.put("letters/x/y.json", b"{}".to_vec(), "application/json").await.unwrap();
    for missing in ["letters/x/y.json", "letters/x/z.json"] {
        assert!(matches!(letters.get(missing).await, Err(PortError::Corrupt(_))), "{missing}");
    }
    for number in 0..2 * KEPT {
        let version = store(&*blobs, &campaign, &letter(&format!("Number {number}"))).await.unwrap();
        letters.get(&key(&campaign, &version)).await.unwrap();
    }
    assert_eq!(letters.kept.lock().unwrap().len(), KEPT);
}

#[test]
fn a_mail_has_the_headers_that_mailbox_providers_ask_for() {
    let mail = mail(letter("News for {{ name }}"), None);
    assert_eq!((mail.subject.as_str(), mail.to.as_str()), ("News for Reader 1", "reader1@example.com"));
    let link = header(&mail, "List-Unsubscribe").unwrap().trim_matches(['<', '>']);
    let token = link.strip_prefix("https://api.example.com/unsubscribe?token=").unwrap();
    let claim = Claim::Unsubscribe { tenant: tenant(), subscriber: reader(1).id() };
    assert_eq!(tokens().open(token).unwrap(), claim);
    assert!(mail.html.contains(link) && mail.text.contains(link));
    assert_eq!(header(&mail, "List-Unsubscribe-Post"), Some("List-Unsubscribe=One-Click"));
    let list = newsletter().to_string().replace('_', "-");
    assert_eq!(header(&mail, "List-Id"), Some(format!("<{list}.example.com>").as_str()));
    assert_eq!(header(&mail, "List-Archive"), None);
    assert_eq!(mail.tags, [("a".to_owned(), "b".to_owned())]);
    for (name, value) in &mail.headers {
        assert!(value.len() <= 995 && value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{name}");
    }
}

#[test]
fn only_a_letter_for_all_is_for_everybody() {
    let base = "https://api.example.com";
    let campaign = draft("s", When::Now, Timestamp::UNIX_EPOCH);
    let mut head = letter("s").head;
    assert_eq!(public_copy(base, &head, &campaign), None, "off by default");
    head.archive = true;
    let copy = format!("{base}/archive/{}/{}", newsletter(), campaign.id);
    assert_eq!(public_copy(base, &head, &campaign), Some(copy.clone()));
    let some = Segment { tags_all: vec!["paying".into()], ..Segment::default() };
    assert_eq!(public_copy(base, &head, &Campaign { segment: some, ..campaign }), None);

    let mail = mail(StoredLetter { head, ..letter("s") }, Some(&copy));
    assert_eq!(header(&mail, "List-Archive"), Some(format!("<{base}/archive/{}>", newsletter()).as_str()));
}
