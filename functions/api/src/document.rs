//! The OpenAPI document, apart from what the routes say themselves.

use utoipa::openapi::Components;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace",
        description = "Background work that is never lost: submit jobs, register users, send newsletters.\n\n\
            Times are RFC 3339 in UTC. Errors are RFC 9457 `application/problem+json`. Every answer carries \
            `X-Request-Id`. A path that is not here is answered 404, a method that is not here 405 with `Allow`. A key \
            belongs to one tenant; what belongs to another is not found.",
    ),
    // Wherever the document was read from.
    servers((url = "/")),
    modifiers(&Keys),
    tags(
        (name = "jobs", description = "Background work"),
        (name = "people", description = "Users, and the subscribers of newsletters"),
        (name = "newsletters", description = "Newsletters and their letters"),
        (name = "archive", description = "Letters that everybody may read"),
        (name = "service", description = "The service itself"),
    )
)]
struct Base;

struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("mr_<key id>_<secret>")
            .description(Some("An API key. `millrace keys create` makes one."))
            .build();
        let components = openapi.components.get_or_insert_with(Components::default);
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The document without routes.
#[must_use]
pub(crate) fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}
