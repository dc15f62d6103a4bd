//! The unmodified SDK of Rust against a real server, in both encodings. This SDK has neither recovery nor
//! subscription tokens, and does not tell the codes with which connections end.

mod harness;

use std::{env, sync::Arc, time::Duration};

use harness::{Line, PATIENCE, Server, token};
use tokio::{sync::mpsc, time::timeout};
use tokio_centrifuge::{
    client::Client,
    config::{BackoffReconnect, Config},
    subscription::Subscription,
};

/// What the SDK tells of a subscription.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Subscribed,
    Unsubscribed(u32),
    Message(String),
}

/// What the SDK tells, in its order.
struct Heard(mpsc::UnboundedReceiver<Told>);

impl Heard {
    async fn next(&mut self) -> Told {
        let next = timeout(PATIENCE, self.0.recv()).await;
        next.expect("waited in vain").expect("the SDK still tells")
    }

    async fn until(&mut self, wanted: &Told) {
        while self.next().await != *wanted {}
    }
}

/// The drivers of the smoke tests; the first is that of all others.
fn drivers() -> Vec<String> {
    let drivers = env::var("DRIVERS").unwrap_or_else(|_| "io_uring,epoll".into());
    drivers.split(',').map(str::to_owned).collect()
}

#[derive(Clone, Copy, Debug)]
enum Encoding {
    Json,
    Protobuf,
}

fn client(line: &Line, encoding: Encoding, token: String) -> Client {
    let reconnect = BackoffReconnect {
        factor: 2.0,
        min_delay: Duration::from_millis(20),
        max_delay: Duration::from_millis(200),
    };
    let config = Config::new()
        .with_token(token)
        .with_read_timeout(PATIENCE)
        .with_reconnect_strategy(reconnect);
    let url = format!("ws://127.0.0.1:{}/connection/websocket", line.port);
    match encoding {
        Encoding::Json => Client::new(&url, config.use_json()),
        Encoding::Protobuf => Client::new(&format!("{url}?format=protobuf"), config.use_protobuf()),
    }
}

async fn connected(line: &Line, encoding: Encoding, user: &str) -> Client {
    let client = client(line, encoding, token(user));
    timeout(PATIENCE, client.connect()).await.unwrap().unwrap();
    client
}

fn listen(subscription: &Subscription) -> Heard {
    let (tell, heard) = mpsc::unbounded_channel();
    let tell = Arc::new(move |told| drop(tell.send(told)));
    let it = tell.clone();
    subscription.on_subscribed(move |_| it(Told::Subscribed));
    let it = tell.clone();
    subscription.on_unsubscribed(move |event| it(Told::Unsubscribed(event.code)));
    subscription.on_publication(move |publication| {
        tell(Told::Message(String::from_utf8(publication.data).unwrap()));
    });
    Heard(heard)
}

fn message(number: usize) -> String {
    format!(r#"{{"n":{number},"text":"日本語 🦀"}}"#)
}

/// Connects, subscribes, publishes, is cut off, and goes on.
async fn goes_on_after_a_cut(driver: &str, encoding: Encoding) {
    let server = Server::start(driver);
    let (line, other) = (Line::to(&server).await, Line::to(&server).await);
    let ada = connected(&line, encoding, "ada").await;
    let grace = connected(&other, encoding, "grace").await;
    let room = "chat:rust";
    let subscription = ada.new_subscription(room);
    let mut heard = listen(&subscription);
    timeout(PATIENCE, subscription.subscribe())
        .await
        .unwrap()
        .unwrap();
    heard.until(&Told::Subscribed).await;
    for number in 0..200 {
        grace.publish(room, message(number).into()).await.unwrap();
    }
    for number in 0..200 {
        assert_eq!(heard.next().await, Told::Message(message(number)));
    }

    let (lost, mut losses) = mpsc::unbounded_channel();
    ada.on_connecting(move |_| lost.send(()).unwrap_or_default());
    line.cut();
    timeout(PATIENCE, losses.recv()).await.unwrap().unwrap();
    line.mend();
    heard.until(&Told::Subscribed).await;
    grace.publish(room, message(7).into()).await.unwrap();
    assert_eq!(heard.next().await, Told::Message(message(7)));
    timeout(PATIENCE, ada.disconnect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_goes_on_after_a_cut_in_json() {
    for driver in drivers() {
        goes_on_after_a_cut(&driver, Encoding::Json).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn client_goes_on_after_a_cut_in_protobuf() {
    for driver in drivers() {
        goes_on_after_a_cut(&driver, Encoding::Protobuf).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn right_that_is_lacking_is_an_error_and_a_room_is_left() {
    let server = Server::start(&drivers()[0]);
    let line = Line::to(&server).await;
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let ada = connected(&line, encoding, "ada").await;
        assert!(ada.publish("closed:room", message(1).into()).await.is_err());
        let denied = ada.new_subscription("feed:room");
        let mut heard = listen(&denied);
        drop(denied.subscribe());
        heard.until(&Told::Unsubscribed(103)).await;
        let subscription = ada.new_subscription("chat:left");
        let mut heard = listen(&subscription);
        timeout(PATIENCE, subscription.subscribe())
            .await
            .unwrap()
            .unwrap();
        heard.until(&Told::Subscribed).await;
        timeout(PATIENCE, subscription.unsubscribe()).await.unwrap();
        heard.until(&Told::Unsubscribed(0)).await;
        ada.publish("chat:left", message(1).into()).await.unwrap();
        assert!(heard.0.try_recv().is_err(), "it hears nothing more");
    }
}
