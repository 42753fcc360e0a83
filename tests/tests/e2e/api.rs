use millrace_tests::Stack;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn health_and_the_document_need_no_key_and_the_rest_does() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    assert_eq!(stack.ask(stack.open(Method::GET, "/health")).await.status, StatusCode::OK);
    let document = stack.ask(stack.open(Method::GET, "/v1/openapi.json")).await;
    assert!(document.str("/openapi").starts_with("3.1"));
    let refused = stack.ask(stack.open(Method::GET, "/v1/jobs/job_1")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    let wrong =
        stack.open(Method::GET, "/v1/jobs/job_1").bearer_auth(format!("mr_{}_{}", "0".repeat(16), "0".repeat(64)));
    assert_eq!(stack.ask(wrong).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_a_caller_sends_wrong_is_told_and_never_a_fault_of_ours() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let garbled = stack.request(Method::POST, "/v1/jobs").header("content-type", "application/json").body("{\"kind\":");
    let cases = [
        (stack.ask(garbled).await, 400),
        (stack.ask(stack.request(Method::POST, "/v1/jobs").body("kind=echo")).await, 415),
        (stack.post("/v1/jobs", &json!({"kind": "echo", "payload": {}, "colour": "red"})).await, 422),
        (stack.post("/v1/jobs", &json!({"kind": "nope", "payload": {}})).await, 422),
        (stack.post("/v1/jobs", &json!({"kind": "echo", "payload": {"sleep_ms": -1}})).await, 422),
        (stack.post("/v1/jobs", &json!({"kind": "echo", "payload": {}, "priority": "urgent"})).await, 422),
        (stack.post("/v1/users", &json!({"email": "no address"})).await, 422),
        (stack.get("/v1/jobs/job_00000000000000000000000000000000").await, 404),
        (stack.get("/v1/nothing").await, 404),
        (stack.ask(stack.request(Method::DELETE, "/v1/users")).await, 405),
    ];
    for (answer, status) in cases {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", answer.text);
        assert_eq!(answer.number("/status"), u64::from(status));
        assert!(answer.headers.contains_key("x-request-id"));
    }
}
