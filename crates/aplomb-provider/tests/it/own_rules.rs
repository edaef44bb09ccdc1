//! Rules of one's own, in code and from a configuration file.

use std::time::Duration;

use aplomb_core::{Classification, Dimension, Kind, Reason, Scope, Usage};
use aplomb_provider::{Anthropic, Generic, OpenAi, Provider, Rule, Settings, StreamEnd, StreamEvent, Tuned};
use serde_json::json;

use crate::support::{self, Response};

const ALL: [&dyn Provider; 3] = [&OpenAi, &Anthropic, &Generic];

fn tuned(rule: Rule) -> Settings {
    Settings::new().rules([rule]).unwrap()
}

fn judge(settings: &Settings, status: u16, headers: &[(&str, &str)], body: &str) -> Classification {
    let response = Response::new(status, headers);
    let [judged, other, _] = ALL.map(|provider| {
        let head = response.head();
        provider.judge(&head.with_settings(settings), body.as_bytes())
    });
    assert_eq!(judged.outcome(), other.outcome());
    judged
}

#[test]
fn each_condition_decides_and_all_of_them_must_hold() {
    let server = |rule: Rule| rule.kind(Kind::Throttled).scope(Scope::Server);
    let body = r#"{"error": {"code": "tenant_asleep", "message": "The model wakes up in 1m30s or so."}}"#;
    let asleep = [("x-tenant", "Asleep")];
    for rule in [
        Rule::new("status").status(400).status(418),
        Rule::new("header").header("X-Tenant", "asleep"),
        Rule::new("any header").header("x-tenant", "*"),
        Rule::new("code").code("other").code("Tenant_Asleep"),
        Rule::new("phrase").phrase("nothing").phrase("Wakes up in"),
        Rule::new("all")
            .status(400)
            .header("x-tenant", "asleep")
            .code("tenant_asleep")
            .phrase("wakes"),
    ] {
        let judged = judge(&tuned(server(rule.clone())), 400, &asleep, body).outcome();
        assert_eq!((judged.kind(), judged.scope()), (Kind::Throttled, Scope::Server), "{rule:?}");
        let other = judge(&tuned(server(rule.clone())), 422, &[], r#"{"error": {"message": "no"}}"#);
        assert_eq!(other.outcome().kind(), Kind::Permanent, "{rule:?}");
    }
    let both = Rule::new("both").status(400).code("tenant_asleep").reason(Reason::Overloaded);
    assert_eq!(judge(&tuned(both.clone()), 422, &[], body).outcome().kind(), Kind::Permanent);
    assert_eq!(judge(&tuned(both), 400, &[], body).reason(), Some(Reason::Overloaded));
}

#[test]
fn a_rule_changes_what_it_says_and_leaves_the_rest() {
    let body =
        r#"{"error": {"code": "rate_limit_exceeded", "message": "Wakes up in 20s. Try again in 5s."}}"#;
    let hint = |rule: Rule| {
        let judged = judge(&tuned(rule), 429, &[], body);
        assert_eq!(judged.message(), Some("Wakes up in 20s. Try again in 5s."));
        (judged.outcome().kind(), judged.outcome().retry_after().map(|hint| hint.as_secs()))
    };
    let rule = || Rule::new("asleep").status(429);
    assert_eq!(hint(rule().scope(Scope::Server)), (Kind::Throttled, Some(5)));
    assert_eq!(hint(rule().delay(Duration::from_secs(9))), (Kind::Throttled, Some(9)));
    assert_eq!(hint(rule().reason(Reason::Overloaded)), (Kind::Transient, Some(5)));
    let captured = rule().phrase("wakes up in {delay}").delay(Duration::from_secs(9));
    assert_eq!(hint(captured), (Kind::Throttled, Some(20)));
    // The first rule that is met counts, before everything known.
    let rules = [
        Rule::new("a").code("rate_limit_exceeded").kind(Kind::Exhausted),
        rule().kind(Kind::Busy),
    ];
    let first = judge(&Settings::new().rules(rules).unwrap(), 429, &[("x-should-retry", "true")], body);
    assert_eq!(first.outcome().kind(), Kind::Exhausted);
}

#[test]
fn a_success_that_meets_a_rule_is_a_failure_whole_or_streamed() {
    let evicted = tuned(Rule::new("evicted").finish_reason("evicted").reason(Reason::Overloaded));
    let answer = r#"{"choices": [{"message": {"content": "Hi"}, "finish_reason": "evicted"}]}"#;
    let stream = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n\
        data: {\"choices\": [{\"delta\": {}, \"finish_reason\": \"evicted\"}]}\n\ndata: [DONE]\n\n";
    for (media_type, body) in [("application/json", answer), ("text/event-stream", stream)] {
        let response = Response::new(200, &[("content-type", media_type)]);
        let provider = Tuned::new(OpenAi, evicted.clone());
        let (_, end) = support::read(provider.stream(&response.head()), body.as_bytes().chunks(9));
        assert_eq!(end.classification().reason(), Some(Reason::Overloaded), "{media_type}");
        assert_eq!(
            provider.ending(&response.head(), body.as_bytes()).classification().reason(),
            Some(Reason::Overloaded)
        );
        let untuned = OpenAi.ending(&response.head(), body.as_bytes());
        assert_eq!(untuned, StreamEnd::Complete, "{media_type}");
    }
    assert_eq!(judge(&evicted, 200, &[], answer).reason(), Some(Reason::Overloaded));
    assert!(judge(&evicted, 200, &[], &answer.replace("evicted", "stop")).outcome().is_success());
    let busy = tuned(Rule::new("busy").status(200).header("x-state", "busy").kind(Kind::Busy));
    assert_eq!(judge(&busy, 200, &[("x-state", "busy")], "{}").outcome().kind(), Kind::Busy);
    let late = tuned(Rule::new("late").status(200).delay(Duration::from_secs(1)));
    assert!(judge(&late, 200, &[], "{}").outcome().is_success());
}

#[test]
fn usage_is_found_where_one_says() {
    let settings = Settings::new()
        .usage_path(Dimension::INPUT_TOKENS, "stats.tokens.in")
        .usage_path(Dimension::OUTPUT_TOKENS, "stats.tokens.out");
    let usage = Usage::unknown().with_input(9).with_output(2);
    let body = r#"{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "stats": {"tokens": {"in": 9, "out": 2}}}"#;
    let response = Response::new(200, &[("content-type", "application/json")]);
    let provider = Tuned::new(OpenAi, settings);
    assert_eq!(provider.usage(&response.head(), body.as_bytes()), Some(usage));
    let (events, end) = support::read(provider.stream(&response.head()), [body.as_bytes()]);
    assert!(end == StreamEnd::Complete && events.contains(&StreamEvent::Usage(usage)), "{events:?}");
    assert_eq!(OpenAi.usage(&response.head(), body.as_bytes()), None);
}

#[test]
fn a_configuration_file_says_the_same() {
    let settings: Settings = serde_json::from_value(json!({
        "daily_quota": "follow_hint",
        "codes": {"tenant_gone": "not_found"},
        "usage": {"input": "stats.in", "total": "stats.all"},
        "rules": [{
            "name": "asleep",
            "status": [418, 400],
            "header": {"x-tenant": "asleep"},
            "code": "tenant_asleep",
            "phrase": ["wakes up in {delay}"],
            "kind": "throttled",
            "scope": "server",
            "reason": "overloaded",
            "delay": "2m"
        }, {"finish_reason": "evicted", "reason": "server_error"}]
    }))
    .unwrap();
    let body = r#"{"error": {"code": "tenant_asleep", "message": "It wakes up in 20s"}}"#;
    let judged = judge(&settings, 418, &[("x-tenant", "asleep")], body);
    let outcome = judged.outcome();
    assert_eq!((outcome.kind(), outcome.scope()), (Kind::Throttled, Scope::Server));
    assert_eq!(
        (judged.reason(), outcome.retry_after()),
        (Some(Reason::Overloaded), Some(Duration::from_secs(20)))
    );
    assert_eq!(judge(&settings, 500, &[], r#"{"code": "tenant_gone"}"#).reason(), Some(Reason::NotFound));
    assert!(serde_json::from_str::<Settings>("{}").is_ok());
}

#[test]
fn an_error_in_a_rule_names_it() {
    for (rule, says) in [
        (json!({"name": "a", "kind": "busy"}), r#"rule "a": it has no condition"#),
        (
            json!({"name": "a", "status": 400}),
            r#"rule "a": it does not say what its responses mean"#,
        ),
        (json!({"status": 400, "kind": "success"}), r#"rule "1": there is no kind "success""#),
        (json!({"name": "a", "status": 9, "kind": "busy"}), r#"rule "a": 9 is not a status"#),
        (
            json!({"name": "a", "header": {"x y": "z"}, "kind": "busy"}),
            r#"rule "a": "x y" is not the name of a header"#,
        ),
        (
            json!({"name": "a", "phrase": "{delay}", "kind": "busy"}),
            r#"rule "a": the phrase "{delay}" needs words"#,
        ),
        (
            json!({"name": "a", "status": 400, "reason": "tired"}),
            r#"rule "a": there is no reason "tired""#,
        ),
        (
            json!({"name": "a", "status": 400, "scope": "all"}),
            r#"rule "a": there is no scope "all""#,
        ),
        (
            json!({"name": "a", "status": 400, "delay": "soon"}),
            r#"rule "a": there is no delay "soon""#,
        ),
        (json!({"name": "a", "status": 400, "delay": -1}), r#"rule "a": there is no delay "-1""#),
        (json!({"name": "a", "statuses": 400}), r#"rule "a": there is no setting "statuses""#),
    ] {
        let error = serde_json::from_value::<Settings>(json!({ "rules": [rule] })).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
    let error = Settings::new().rules([Rule::new("b").status(400).kind(Kind::Success)]).unwrap_err();
    assert_eq!(error.rule(), "b");
    let unknown = serde_json::from_value::<Settings>(json!({"rule": []})).unwrap_err().to_string();
    assert!(unknown.contains("unknown field `rule`"), "{unknown}");
}

#[test]
fn a_value_of_another_type_names_its_rule_and_the_setting() {
    const STATUSES: &str = "`status` must be a status, such as 418, or a list of statuses";
    const TEXTS: &str = "must be text or a list of texts";
    for (setting, value, says) in [
        ("status", json!("x"), STATUSES.into()),
        ("status", json!([400, "x"]), STATUSES.into()),
        ("status", json!(70_000), STATUSES.into()),
        ("status", json!(null), STATUSES.into()),
        ("header", json!("x-tenant"), "`header` must be a table of names and values".into()),
        ("header", json!({"x-tenant": 1}), "`header` must be a table of names and values".into()),
        ("code", json!(1302), format!("`code` {TEXTS}")),
        ("phrase", json!([["wakes"]]), format!("`phrase` {TEXTS}")),
        ("finish_reason", json!({"is": "evicted"}), format!("`finish_reason` {TEXTS}")),
        ("kind", json!(["busy"]), "`kind` must be text".into()),
        ("scope", json!(1), "`scope` must be text".into()),
        ("reason", json!(true), "`reason` must be text".into()),
        (
            "delay",
            json!([2]),
            "`delay` must be a number of seconds or a duration, such as \"2m\"".into(),
        ),
    ] {
        let fine = json!({"name": "fine", "status": 418, "kind": "busy"});
        for (name, shown) in [(json!("asleep"), "asleep"), (json!(null), "2")] {
            let mut rule = json!({"name": name});
            rule[setting] = value.clone();
            let text = json!({"rules": [fine, rule]}).to_string();
            let error = serde_json::from_str::<Settings>(&text).err().unwrap().to_string();
            assert!(error.starts_with(&format!("rule {shown:?}: {says}")), "{error}");
        }
    }
}

#[test]
fn a_rule_that_cannot_be_read_is_named_by_its_position() {
    for (rule, says) in [
        (r#"{"name": 3, "status": 400}"#, "`name` must be text"),
        ("400", "invalid type: integer `400`, expected the settings of a rule"),
        (r#"{"status": 400, "status": 401}"#, "duplicate field `status`"),
    ] {
        let text = format!(r#"{{"rules": [{{"status": 418, "kind": "busy"}}, {rule}]}}"#);
        let error = serde_json::from_str::<Settings>(&text).err().unwrap().to_string();
        assert!(error.starts_with(&format!("rule \"2\": {says}")), "{error}");
    }
}
