//! What becomes of an accepted mail at its recipient: by the addresses of SES's
//! [mailbox simulator](https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator), by
//! the account's suppression list, and by the faults that were asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::App;
use crate::faults::Fault;
use crate::mail::{Mail, domain};
use crate::suppression::Reason;

const SIMULATOR: &str = "simulator.amazonses.com";
/// What virus scanners are tested with ([EICAR](https://www.eicar.org/download-anti-malware-testfile/)); SES's documentation
/// names it as the way to see a Reject event.
const VIRUS: &str = "EICAR-STANDARD-ANTIVIRUS-TEST-FILE";

/// What becomes of a mail at one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The recipient's server takes it.
    Delivered,
    /// The recipient's server knows nobody of this name.
    UnknownUser,
    /// The recipient's server takes it, and answers that the recipient is away.
    OutOfOffice,
    /// The recipient calls it spam.
    Spam,
    /// SES sends it to nobody: the address is on the suppression list of SES itself.
    SuppressedBySes,
    /// SES sends it to nobody: the address is on the account's suppression list.
    Suppressed(Reason),
}

/// Whether SES finds a virus in it and drops it.
pub(crate) fn is_virus(mail: &Mail) -> bool {
    let parts = mail.text.iter().chain(&mail.html);
    parts.into_iter().any(|part| part.contains(VIRUS))
        || mail.attachments.iter().any(|attachment| {
            let bytes = STANDARD.decode(&attachment.content).unwrap_or_default();
            bytes.windows(VIRUS.len()).any(|window| window == VIRUS.as_bytes())
        })
}

/// Whether the address is one of SES's simulator: it counts against no quota and comes on no suppression list.
pub(crate) fn is_simulator(address: &str) -> bool {
    domain(address).eq_ignore_ascii_case(SIMULATOR)
}

/// The fate of a mail at a simulator's address. Labels are left aside: `bounce+anything@` is `bounce@`.
fn simulated(address: &str) -> Fate {
    let local = address.split(['+', '@']).next().unwrap_or_default();
    match local.to_ascii_lowercase().as_str() {
        "success" => Fate::Delivered,
        "ooto" => Fate::OutOfOffice,
        "complaint" => Fate::Spam,
        "suppressionlist" => Fate::SuppressedBySes,
        // `bounce`, and what the simulator does not know.
        _ => Fate::UnknownUser,
    }
}

/// What becomes of a mail at this address (bare). Who bounces or complains is put on the suppression list.
pub(crate) fn draw(app: &App, address: &str) -> Fate {
    if is_simulator(address) {
        return simulated(address);
    }
    if let Some(reason) = app.suppressed.reason(address) {
        return Fate::Suppressed(reason);
    }
    if app.disturbance.hits(Fault::Bounce) {
        app.suppressed.put(address, Reason::Bounce);
        Fate::UnknownUser
    } else if app.disturbance.hits(Fault::Complain) {
        app.suppressed.put(address, Reason::Complaint);
        Fate::Spam
    } else {
        Fate::Delivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Amount, Faults};
    use crate::testing::{app, mail};

    #[test]
    fn the_simulators_addresses_have_their_fates_with_and_without_labels() {
        let app = app();
        app.disturbance.set(Faults { bounce: Amount::Share(1.0), ..Faults::default() });
        for (address, fate) in [
            ("success@simulator.amazonses.com", Fate::Delivered),
            ("bounce@simulator.amazonses.com", Fate::UnknownUser),
            ("bounce+run-1@simulator.amazonses.com", Fate::UnknownUser),
            ("Complaint+a+b@Simulator.AmazonSES.com", Fate::Spam),
            ("ooto+x@simulator.amazonses.com", Fate::OutOfOffice),
            ("suppressionlist@simulator.amazonses.com", Fate::SuppressedBySes),
            ("nobody@simulator.amazonses.com", Fate::UnknownUser),
        ] {
            assert_eq!(draw(&app, address), fate, "{address}");
            assert_eq!(app.suppressed.reason(address), None, "the simulator's come on no list");
        }
    }

    #[test]
    fn who_bounced_or_complained_is_sent_nothing_any_more() {
        let app = app();
        app.disturbance.set(Faults { bounce: Amount::Next { next: 1 }, ..Faults::default() });
        assert_eq!(draw(&app, "Ann@example.com"), Fate::UnknownUser);
        assert_eq!(draw(&app, "ann@example.com"), Fate::Suppressed(Reason::Bounce));
        app.disturbance.set(Faults { complain: Amount::Next { next: 1 }, ..Faults::default() });
        assert_eq!(draw(&app, "bo@example.com"), Fate::Spam);
        assert_eq!(draw(&app, "bo@example.com"), Fate::Suppressed(Reason::Complaint));
        assert_eq!(draw(&app, "cy@example.com"), Fate::Delivered);
    }

    #[test]
    fn the_test_file_of_virus_scanners_is_found_in_parts_and_attachments() {
        let mut one = mail("1", "a@example.com");
        assert!(!is_virus(&one));
        one.text = Some(format!("X5O!{VIRUS}!$H"));
        assert!(is_virus(&one));
        let mut one = mail("2", "a@example.com");
        let file = crate::Attachment {
            file_name: "x.com".into(),
            content_type: None,
            content_id: None,
            disposition: None,
            description: None,
            content: STANDARD.encode(format!("X5O!{VIRUS}!$H")),
        };
        one.attachments.push(file);
        assert!(is_virus(&one));
    }
}
