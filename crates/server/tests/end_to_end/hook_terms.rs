//! What goes on at its end because a back end says so, and what does not.

use std::time::Duration;

use serde_json::json;

use crate::{
    back_end::{Answer, BackEnd},
    client::scrape,
    commands::{Configured, OPEN, Session, in_seconds},
    harness::{Driver, eventually},
    hooks::connected,
};

on_both_drivers![
    connection_goes_on_while_the_back_end_says_so,
    subscription_goes_on_while_the_back_end_says_so,
];

fn start(driver: Driver, settings: &str, tables: &str) -> Configured {
    Configured::start(driver, settings, tables, &["--cores", "2"])
}

fn connection_goes_on_while_the_back_end_says_so(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.path.as_str() {
        "/connect" => {
            let user = asked.body["data"].clone();
            Answer::result(json!({"user": user, "expire_at": in_seconds(2)}))
        }
        _ => match asked.body["user"].as_str().unwrap() {
            "stays" => Answer::result(json!({"expire_at": in_seconds(600), "info": {"new": true}})),
            "over" => Answer::result(json!({"expired": true})),
            "refused" => Answer::Json(json!({"error": {"code": 1000, "message": "no"}})),
            _ => Answer::Json(json!({"disconnect": {"code": 4700, "reason": "go"}})),
        },
    });
    let tables = format!(
        "[rooms]{OPEN}{}{}",
        back_end.hook("connect", ""),
        back_end.hook("refresh", "")
    );
    let configured = start(driver, "", &tables);
    let come = |user: &str| {
        let (session, reply) = connected(&configured, &json!({ "data": user }));
        assert!(
            reply["expires"].is_null(),
            "it has nothing to show: {reply}"
        );
        session
    };
    let [mut stays, mut over, mut refused, mut told] =
        ["stays", "over", "refused", "told"].map(come);
    assert_eq!(over.closed().0, 3005);
    assert_eq!(refused.closed().0, 3005);
    assert_eq!(told.closed(), (4700, "go".into()));
    back_end.await_asked("/refresh", 4);
    let of = |user: &str| {
        back_end
            .asked("/refresh")
            .iter()
            .filter(|it| it.body["user"] == user)
            .count()
    };
    assert_eq!(of("stays"), 1);
    stays.ask(r#"{"id":2,"subscribe":{"channel":"news"}}"#);
    stays.send(r#"{"id":3,"publish":{"channel":"news","data":1}}"#);
    let published = loop {
        let said = stays.reply();
        if said["push"]["pub"].is_object() {
            break said;
        }
    };
    assert_eq!(
        published["push"]["pub"]["info"]["conn_info"],
        json!({"new": true})
    );
}

fn subscription_goes_on_while_the_back_end_says_so(driver: Driver) {
    let back_end = BackEnd::start(|asked| match asked.path.as_str() {
        "/subscribe" => Answer::result(json!({"expire_at": in_seconds(2)})),
        _ => match asked.body["channel"].as_str().unwrap() {
            "asked:stays" => Answer::result(json!({})),
            "asked:over" => Answer::result(json!({"expired": true})),
            _ => Answer::Json(json!({"disconnect": {"code": 4800, "reason": "go"}})),
        },
    });
    let tables = format!(
        "[namespaces.asked]\nsubscribe_hook = true\nsub_refresh_hook = true\n{}{}",
        back_end.hook("subscribe", ""),
        back_end.hook("sub_refresh", "")
    );
    let configured = start(driver, "", &tables);
    let mut session = Session::anonymous(&configured.server);
    for room in ["stays", "over"] {
        let reply = session.ask(&format!(
            r#"{{"id":2,"subscribe":{{"channel":"asked:{room}"}}}}"#
        ));
        assert!(
            reply["subscribe"].is_object() && reply["subscribe"]["expires"].is_null(),
            "{reply}"
        );
    }
    let push = session.reply();
    assert_eq!(push["push"]["channel"], "asked:over");
    assert_eq!(push["push"]["unsubscribe"]["code"], 2501, "{push}");
    eventually("both are asked about", || {
        back_end.asked("/sub_refresh").len() == 2
    });
    // The other one has no end any more.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(back_end.asked("/sub_refresh").len(), 2);
    session.ask(r#"{"id":3,"subscribe":{"channel":"asked:go"}}"#);
    assert_eq!(session.closed(), (4800, "go".into()));
    let metrics = scrape(&configured.server);
    let of = |outcome: &str| {
        metrics
            [&format!("hubbub_hook_requests_total{{hook=\"sub_refresh\",outcome=\"{outcome}\"}}")]
    };
    assert_eq!((of("result"), of("disconnect")), (2.0, 1.0));
}
