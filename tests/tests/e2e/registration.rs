use millrace_tests::{Stack, stack::until};
use serde_json::json;

#[tokio::test]
async fn a_registration_becomes_one_welcome_mail() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let body = json!({"email": "Ada.Lovelace@Example.com", "name": "Ada <Countess>", "time_zone": "Europe/London"});
    let accepted = stack.post_ok("/v1/users", &body, 202).await;
    let user = accepted.str("/user/id").to_owned();
    assert_eq!(accepted.str("/job/kind"), "welcome");
    assert_eq!(stack.final_job(accepted.str("/job/id")).await.str("/state"), "succeeded");

    let mails = until("the mail", async || {
        Some(stack.mails_to("ada.lovelace@example.com").await).filter(|mails| !mails.is_empty())
    })
    .await;
    assert_eq!(mails.len(), 1);
    assert!(mails[0]["text"].as_str().expect("text").contains("Hello Ada <Countess>"));
    assert!(mails[0]["html"].as_str().expect("html").contains("Hello Ada &lt;Countess&gt;"));
    assert!(stack.get(&format!("/v1/users/{user}")).await.body["welcomed_at"].is_string());

    // The same person, however the address is written, is no second user and gets no second mail.
    let again = stack.post_ok("/v1/users", &json!({"email": "ada.lovelace@example.com"}), 200).await;
    assert_eq!(again.str("/user/id"), user);
    assert_eq!(stack.final_job(again.str("/job/id")).await.number("/attempt"), 1);
    assert_eq!(stack.mails_to("ada.lovelace@example.com").await.len(), 1);
}
