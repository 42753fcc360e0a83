//! The sample letters: making templates of them, which happens once, and rendering them, which happens for each recipient.

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use api::compose;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millrace::domain::address::Mailbox;
use millrace::domain::id::{NewsletterId, SubscriberId, Tenant};
use millrace::domain::letter::{Body, Letter, Letterhead, Manuscript, Recipient};
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::letters::unsubscribe_url;
use std::hint::black_box;

fn head() -> Letterhead {
    Letterhead {
        newsletter: NewsletterId::derived(&["bench"]),
        name: "The Mill Wheel".to_owned(),
        postal_address: "1 Mill Lane, Watermouth".to_owned(),
        from: Mailbox::parse("The Mill Wheel <news@example.com>").unwrap(),
        reply_to: None,
        archive: false,
    }
}

fn samples() -> [(&'static str, Body); 3] {
    [
        ("html", Body::Html(include_str!("../../../events/letter.html").to_owned())),
        ("mjml", Body::Mjml(include_str!("../../../events/letter.mjml").to_owned())),
        ("markdown", Body::Markdown(include_str!("../../../events/letter.md").to_owned())),
    ]
}

fn manuscript(body: Body) -> Manuscript {
    Manuscript { subject: "What the water brought, {{ name or \"reader\" }}".to_owned(), body, text: None }
}

fn letters(criterion: &mut Criterion) {
    let tokens = Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into());
    let (tenant, subscriber) = (Tenant::parse("mill").unwrap(), SubscriberId::derived(&["reader"]));
    let tags = ["early".to_owned(), "walks".to_owned()];
    let mut group = criterion.benchmark_group("personalise");
    group.throughput(Throughput::Elements(1));
    for (name, body) in samples() {
        let stored = compose::letter(manuscript(body), head()).unwrap();
        let letter = Letter::new(&stored.templates, &stored.head).unwrap();
        // All that is done for one recipient: the token in the link, the subject and both parts.
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let link = unsubscribe_url(&tokens, "https://api.example.com", &tenant, black_box(&subscriber));
                let recipient = Recipient {
                    name: black_box(Some("Ada Lovelace")),
                    email: "ada@example.com",
                    tags: &tags,
                    unsubscribe_url: &link,
                    archive_url: None,
                };
                letter.render(&recipient).unwrap()
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("compose");
    for (name, body) in samples() {
        group.bench_function(name, |bencher| {
            bencher.iter(|| compose::letter(manuscript(body.clone()), head()).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, letters);
criterion_main!(benches);
