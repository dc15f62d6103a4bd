//! The description of the API (OpenAPI 3.1), made from the table of methods and the types of their requests.

use std::sync::LazyLock;

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use utoipa::openapi::{
    Components, Content, HttpMethod, Info, License, Object, OneOf, OpenApi, PathItem, Paths, Ref,
    RefOr, Required, Schema, SecurityRequirement, Tag,
    path::OperationBuilder,
    request_body::RequestBodyBuilder,
    response::ResponseBuilder,
    schema::{ObjectBuilder, SchemaType, Type},
    security::{ApiKey, ApiKeyValue, SecurityScheme},
};

use super::{
    failure::Error,
    methods::{METHODS, Method, Schemas, named},
};

/// Where it is served.
pub(super) const PATH: &str = "/openapi.json";

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let document = made().to_pretty_json();
    document.expect("strings and numbers are JSON") + "\n"
});

/// The document.
pub fn document() -> &'static str {
    &DOCUMENT
}

/// The document as an answer.
pub(super) fn answer() -> Response {
    ([(CONTENT_TYPE, "application/json")], document()).into_response()
}

/// The ways to show a key.
const KEYS: [&str; 3] = ["header", "authorization", "query"];

fn made() -> OpenApi {
    let mut schemas = Schemas::new();
    let error = named::<Error>(&mut schemas);
    let mut paths = Paths::new();
    for method in METHODS {
        let path = format!("/api/{}", method.name);
        paths
            .paths
            .insert(path, described(method, &error, &mut schemas));
    }
    paths.paths.insert(PATH.to_owned(), itself());
    let mut components = Components::new();
    components.schemas.extend(schemas);
    for (_, name, words) in REFUSED {
        let response = plain(words).build();
        components
            .responses
            .insert(name.to_owned(), response.into());
    }
    for (_, name, words) in FAILED {
        let response = plain_or_error(words, &error).build();
        components
            .responses
            .insert(name.to_owned(), response.into());
    }
    for (name, scheme) in KEYS.iter().zip(security_schemes()) {
        components.add_security_scheme(*name, scheme);
    }
    let mut info = Info::new("Hubbub", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The API of back ends. A call is a POST with a JSON object as its body, whatever its Content-Type.".to_owned(),
    );
    info.license = Some(License::new("MIT OR Apache-2.0"));
    let mut document = OpenApi::new(info, paths);
    document.components = Some(components);
    document.security = Some(
        KEYS.map(|name| SecurityRequirement::new(name, [""; 0]))
            .to_vec(),
    );
    document.tags = Some(vec![Tag::new("api")]);
    document
}

fn security_schemes() -> [SecurityScheme; 3] {
    let described = |name: &str, words: &str| ApiKeyValue::with_description(name, words);
    [
        ApiKey::Header(ApiKeyValue::new("X-API-Key")),
        ApiKey::Header(described("Authorization", "`apikey KEY`")),
        ApiKey::Query(described(
            "api_key",
            "For programs that can set no fields: addresses are often logged.",
        )),
    ]
    .map(SecurityScheme::ApiKey)
}

/// A method, as an operation.
fn described(method: &Method, error: &RefOr<Schema>, schemas: &mut Schemas) -> PathItem {
    let [request, result] = (method.describe)(schemas);
    let body = RequestBodyBuilder::new()
        .content("application/json", Content::new(Some(request)))
        .required(Some(Required::True));
    let result = match method.is_bare {
        true => result,
        false => object_with("result", result),
    };
    let either = OneOf::builder()
        .item(result)
        .item(object_with("error", error.clone()));
    let answered = ResponseBuilder::new()
        .description("What the call has come to, or why it has failed")
        .content(
            "application/json",
            Content::new(Some(RefOr::T(Schema::OneOf(either.build())))),
        );
    let mut operation = OperationBuilder::new()
        .operation_id(Some(method.name))
        .summary(Some(method.words))
        .tag("api")
        .request_body(Some(body.build()))
        .response("200", answered);
    for (status, name, _) in REFUSED.into_iter().chain(FAILED) {
        operation = operation.response(status, Ref::from_response_name(name));
    }
    PathItem::new(HttpMethod::Post, operation)
}

/// Statuses of requests that are no calls.
const REFUSED: [(&str, &str, &str); 6] = [
    ("401", "NoKey", "There is no key, or it is not known"),
    ("405", "OtherVerb", "It is not sent with POST"),
    ("408", "Late", "The body did not come in time"),
    ("413", "TooLong", "The body is too long"),
    (
        "429",
        "TooOften",
        "The key is used too often, or a bound is reached",
    ),
    ("503", "TooMuch", "The server has too much to do"),
];

/// Those that a call may have, too, where errors have statuses.
const FAILED: [(&str, &str, &str); 6] = [
    (
        "400",
        "NoCall",
        "The body is not what the method takes, or asks for what the room does not have",
    ),
    (
        "403",
        "NotPermitted",
        "The key, the Host or the Origin is not permitted",
    ),
    ("404", "Unknown", "There is no such method or namespace"),
    (
        "409",
        "Conflict",
        "The idempotency key was used for something else",
    ),
    (
        "416",
        "Unrecoverable",
        "The position cannot be recovered from",
    ),
    ("500", "Failed", "The server has failed"),
];

fn plain(words: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(words)
        .content("text/plain", Content::new(Some(text())))
}

fn plain_or_error(words: &str, error: &RefOr<Schema>) -> ResponseBuilder {
    plain(words).content("application/json", Content::new(Some(error.clone())))
}

fn text() -> RefOr<Schema> {
    Object::with_type(Type::String).into()
}

fn object_with(key: &str, value: RefOr<Schema>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Object))
        .property(key, value)
        .required(key)
        .into()
}

/// The document itself.
fn itself() -> PathItem {
    let any = Object::with_type(Type::Object);
    let answered = ResponseBuilder::new()
        .description("This document")
        .content("application/json", Content::new(Some(any)));
    let mut operation = OperationBuilder::new()
        .operation_id(Some("openapi"))
        .summary(Some("Describes the API."))
        .tag("api")
        .response("200", answered);
    for (status, name, _) in [REFUSED[0], REFUSED[1], REFUSED[4]] {
        operation = operation.response(status, Ref::from_response_name(name));
    }
    let denied = plain("The Host or the Origin is not permitted");
    PathItem::new(HttpMethod::Get, operation.response("403", denied))
}
