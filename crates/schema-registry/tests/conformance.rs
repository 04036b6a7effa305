//! The same suite against the registry in the process and against a real one.
#![allow(clippy::unwrap_used, reason = "a test states its expectations by unwrapping")]

mod suite;

use milena_schema_registry::{SchemaRegistry, server::InProcessRegistry};

#[tokio::test]
async fn the_registry_in_the_process() {
    let served = InProcessRegistry::start().await.unwrap();
    let registry = SchemaRegistry::builder(served.url()).build().unwrap();
    // Apicurio answers with the global level here.
    assert_eq!(registry.subject_compatibility_level("none").await.unwrap(), None);
    suite::run(&registry).await;
}

#[tokio::test]
#[ignore = "needs a registry: MILENA_REGISTRY is its URL, such as http://127.0.0.1:8081/apis/ccompat/v7"]
async fn a_real_registry() {
    let url = std::env::var("MILENA_REGISTRY").unwrap();
    suite::run(&SchemaRegistry::builder(url).build().unwrap()).await;
}
