//! The client: caches, retries, addresses, logins, TLS, and answers that are none.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

use std::time::{Duration, Instant};

use milena_schema_registry::{
    AvroDecoder, AvroEncoder, CompatibilityLevel, Deletion, ErrorKind, Part, Schema, SchemaId,
    SchemaRegistry, SubjectNameStrategy, Version, server::InProcessRegistry,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const TEXT: &str = r#""string""#;

async fn served() -> (InProcessRegistry, SchemaRegistry) {
    let served = InProcessRegistry::start().await.unwrap();
    let registry = SchemaRegistry::builder(served.url()).build().unwrap();
    (served, registry)
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_make_one_request() {
    let (served, registry) = served().await;
    let id = registry.register("a", &Schema::avro(TEXT), false).await.unwrap();
    served.delay(Duration::from_millis(100));
    let before = served.requests();
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.schema_by_id(id).await.unwrap() })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().schema, TEXT);
    }
    assert_eq!(served.requests() - before, 1);
    registry.register("a", &Schema::avro(TEXT), false).await.unwrap();
    assert_eq!(served.requests() - before, 1, "the id is remembered");
    registry.delete_subject("a", Deletion::Soft).await.unwrap();
    registry.register("a", &Schema::avro(TEXT), false).await.unwrap();
    assert_eq!(served.requests() - before, 3, "deleting forgets");
}

#[tokio::test]
async fn records_after_the_first_need_no_request() {
    let (served, registry) = served().await;
    let encoder =
        AvroEncoder::new(registry.clone(), Schema::avro(TEXT), SubjectNameStrategy::TopicName).await.unwrap();
    let bytes = encoder.encode("t", Part::Value, "hello").await.unwrap();
    assert_eq!(bytes[..], *b"\x00\x00\x00\x00\x01\x0ahello");
    let decoder = AvroDecoder::<String>::new(registry, None).await.unwrap();
    assert_eq!(decoder.decode(&bytes).await.unwrap(), "hello");
    let before = served.requests();
    for _ in 0..10 {
        encoder.encode("t", Part::Value, "hello").await.unwrap();
        decoder.decode(&bytes).await.unwrap();
    }
    assert_eq!(served.requests(), before);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    let (served, registry) = served().await;
    for status in [500, 503, 429] {
        served.fail_next(2, status);
        registry.subjects().await.unwrap();
    }
    assert_eq!(served.requests(), 9);
    served.fail_next(1, 403);
    let refused = registry.subjects().await.unwrap_err();
    assert_eq!((refused.kind(), refused.http_status()), (ErrorKind::Refused, Some(403)));
    assert_eq!(served.requests(), 10);
    served.fail_next(4, 503);
    let unavailable = registry.subjects().await.unwrap_err();
    assert_eq!((unavailable.kind(), unavailable.http_status()), (ErrorKind::Unavailable, Some(503)));
    assert_eq!(served.requests(), 14);
    served.fail_next(4, 503);
    registry.schema_by_id(SchemaId(1)).await.unwrap_err();
    registry.register("a", &Schema::avro(TEXT), false).await.unwrap();
    assert_eq!(registry.schema_by_id(SchemaId(1)).await.unwrap().schema, TEXT, "a failure is not kept");
}

#[tokio::test]
async fn another_address_is_asked_when_the_first_is_gone() {
    let served = InProcessRegistry::start().await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let registry =
        SchemaRegistry::builder(format!("http://{gone}")).url(served.url()).retries(0).build().unwrap();
    registry.subjects().await.unwrap();
    let registry = SchemaRegistry::builder(format!("http://{gone}/apis")).retries(1).build().unwrap();
    let error = registry.subjects().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().starts_with(&format!("listing subjects: http://{gone}/apis: ")), "{error}");
}

#[tokio::test]
async fn errors_say_what_was_being_done_and_what_the_registry_said() {
    let (served, registry) = served().await;
    let url = served.url();
    let error = registry.versions("nothing").await.unwrap_err();
    let expected = format!(
        "listing the versions of nothing: {url} refused with status 404, code 40401 (no such subject): Subject 'nothing' not found."
    );
    assert_eq!(error.to_string(), expected);
    registry.set_compatibility_level(CompatibilityLevel::Full).await.unwrap();
    registry.register("a", &Schema::avro(r#""int""#), false).await.unwrap();
    let error = registry.register("a", &Schema::avro(r#""string""#), false).await.unwrap_err().to_string();
    assert!(
        error.starts_with("registering a schema under a: ")
            && error.contains("can't read what version 1 writes"),
        "{error}"
    );
    let check =
        registry.check_compatibility("a", Version::Latest, &Schema::avro(r#""string""#)).await.unwrap();
    assert!(
        !check.is_compatible
            && check.messages[0].starts_with("the new schema can't read what version 1 writes"),
        "{check:?}"
    );
    served.fail_next(1, 302);
    let error = registry.subjects().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadAnswer);
    assert!(error.to_string().contains("redirects (status 302), which is not followed"), "{error}");
}

#[tokio::test]
async fn logins() {
    let served = InProcessRegistry::start().await.unwrap();
    served.require_authorization("Basic dXNlcjpodW50ZXIy");
    let registry = SchemaRegistry::builder(served.url()).basic_auth("user", "hunter2").build().unwrap();
    registry.subjects().await.unwrap();
    served.require_authorization("Bearer hunter2");
    let builder = SchemaRegistry::builder(served.url()).bearer_auth("hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    let other = builder.build().unwrap();
    assert!(!format!("{other:?}").contains("hunter2"));
    other.subjects().await.unwrap();
    let error = registry.subjects().await.unwrap_err();
    assert_eq!((error.kind(), error.http_status()), (ErrorKind::Refused, Some(401)));
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn secrets_do_not_go_over_the_network_in_the_clear() {
    let builder = SchemaRegistry::builder("http://registry.example:8081").basic_auth("user", "hunter2");
    let error = builder.clone().build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    assert!(
        error.to_string().contains("allow_secrets_in_the_clear") && !error.to_string().contains("hunter2")
    );
    builder.allow_secrets_in_the_clear().build().unwrap();
    let error = SchemaRegistry::builder("http://user:hunter2@localhost").build().unwrap_err().to_string();
    assert!(error.contains("basic_auth") && !error.contains("hunter2"), "{error}");
}

/// Answers every request with `head`, and then with `more` for ever.
async fn hostile(head: &'static [u8], more: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read_u8().await;
                stream.write_all(head).await.unwrap();
                while !more.is_empty() && stream.write_all(more).await.is_ok() {}
                tokio::time::sleep(Duration::from_secs(60)).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn hostile_answers_are_bounded() {
    const ENDLESS: &[u8] = &[b' '; 65536];
    for (head, more, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], ENDLESS, "longer than 8388608 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999999\r\n\r\n", ENDLESS, "longer than"),
        (b"HTTP/1.1 200 OK\r\nA: ", ENDLESS, "too large"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"", "does not answer as a schema registry"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<a/> ", b"", "does not answer as a schema registry"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<a/>", b"", "answered with status 404"),
        (b"SSH-2.0-OpenSSH\r\n", b"", "invalid HTTP version"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"", "no answer within 500ms"),
        (b"", b"", "no answer within 500ms"),
    ] {
        let url = hostile(head, more).await;
        let timeout = if more.is_empty() { Duration::from_millis(500) } else { Duration::from_secs(20) };
        let registry = SchemaRegistry::builder(url).retries(0).request_timeout(timeout).build().unwrap();
        let begin = Instant::now();
        let error = registry.subjects().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(19));
    }
}
