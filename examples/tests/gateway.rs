//! The gateway, as its tenants see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[allow(dead_code, reason = "its `main` is not called")]
#[path = "../gateway.rs"]
mod gateway;

#[tokio::test]
async fn a_tenant_above_its_quota_is_told_when_to_come_back_and_its_key_is_shown_nowhere() {
    let (url, _providers) = gateway::start().await.unwrap();
    let chat = format!("{url}/v1/chat/completions");
    let tiny = gateway::ask(&chat, "tiny", "gpt-small", 12).await.unwrap();
    // Of twelve calls at once, its quota of sixty a minute takes five, and perhaps one or two within two seconds.
    assert!(tiny.answered >= 1 && tiny.refused >= 1, "{} and {}", tiny.answered, tiny.refused);
    assert_eq!(tiny.answered + tiny.refused, 12);
    assert!(tiny.told.starts_with("429, retry-after: "), "{}", tiny.told);
    assert!(!tiny.told.contains("tiny"), "{}", tiny.told);

    let nowhere = gateway::ask(&chat, "tiny", "llama", 1).await.unwrap();
    assert!(nowhere.told.starts_with("404"), "{}", nowhere.told);
}
