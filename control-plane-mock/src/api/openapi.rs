//! The OpenAPI document, made from the table of routes.

use control_plane_model::problem::Problem;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Required, ResponseBuilder,
};

use super::route::{Content, Route};

/// The document.
pub(super) fn document(routes: Vec<Route>) -> OpenApi {
    let mut paths = PathsBuilder::new();
    let Content { schema: problem, parts: mut schemas } = Content::one::<Problem>();
    let mut content = |content: Content| {
        schemas.extend(content.parts);
        ContentBuilder::new().schema(Some(content.schema)).build()
    };
    for Route { method, path, summary, query, body, answer, handler: _ } in routes {
        let mut operation = OperationBuilder::new()
            .summary(Some(summary))
            .operation_id(Some(format!("{method} {path}")))
            .response("200", ResponseBuilder::new().description("Done").content("application/json", content(answer)))
            .response(
                "default",
                ResponseBuilder::new()
                    .description("Refused: what, where, what to do")
                    .content("application/json", ContentBuilder::new().schema(Some(problem.clone())).build()),
            );
        let text = || ObjectBuilder::new().schema_type(Type::String).build();
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
            operation = operation.parameter(parameter.schema(Some(text())));
        }
        for name in query {
            let parameter =
                ParameterBuilder::new().name(*name).parameter_in(ParameterIn::Query).required(Required::False);
            operation = operation.parameter(parameter.schema(Some(text())));
        }
        if let Some(body) = body {
            let body = RequestBodyBuilder::new().content("application/json", content(body)).build();
            operation = operation.request_body(Some(body));
        }
        let method = match method {
            "POST" => HttpMethod::Post,
            "PUT" => HttpMethod::Put,
            "DELETE" => HttpMethod::Delete,
            _ => HttpMethod::Get,
        };
        paths = paths.path(path, PathItem::new(method, operation.build()));
    }
    let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title("control-plane-mock").version(env!("CARGO_PKG_VERSION")).build())
        .paths(paths.build())
        .security(Some([SecurityRequirement::new::<_, [String; 0], String>("token", [])]))
        .components(Some(ComponentsBuilder::new().schemas_from_iter(schemas).security_scheme("token", token).build()))
        .build()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_reference_leads_to_a_schema_and_every_route_is_told() {
        let text = serde_json::to_string(&super::super::document()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let known = value["components"]["schemas"].as_object().unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(known.contains_key(name), "{name} has no schema");
        }
        let told: usize =
            value["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
        assert_eq!(told, super::super::routes().len());
    }
}
