//! The OpenAPI document, made from the table of routes.

use control_plane_model as model;
use control_plane_model::problem::Problem;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::route::Route;
use crate::faults::Scripted;
use crate::gateway::logs::carry::LogLine;

fn schemas() -> Vec<(String, RefOr<Schema>)> {
    fn add<T: ToSchema + PartialSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
        all.push((T::name().into_owned(), T::schema()));
        T::schemas(all);
    }
    let mut all = Vec::new();
    add::<Problem>(&mut all);
    add::<model::Named>(&mut all);
    add::<model::NewNamed>(&mut all);
    add::<model::NewAccessToken>(&mut all);
    add::<model::AccessToken>(&mut all);
    add::<model::AccessTokenRow>(&mut all);
    add::<model::DataPlane>(&mut all);
    add::<model::Enrolment>(&mut all);
    add::<model::DataPlaneSettings>(&mut all);
    add::<model::Environment>(&mut all);
    add::<model::NewEnvironment>(&mut all);
    add::<model::ComponentRow>(&mut all);
    add::<model::NewComponent>(&mut all);
    add::<model::Release>(&mut all);
    add::<model::NewDeployment>(&mut all);
    add::<model::Action>(&mut all);
    add::<model::Deployment>(&mut all);
    add::<model::ResourceStatus>(&mut all);
    add::<model::Event>(&mut all);
    add::<model::TaskRun>(&mut all);
    add::<Scripted>(&mut all);
    add::<LogLine>(&mut all);
    all
}

fn reference(name: &str) -> RefOr<Schema> {
    match name.strip_prefix("[]") {
        Some(item) => RefOr::T(Schema::Array(ArrayBuilder::new().items(Ref::from_schema_name(item)).build())),
        None if name.is_empty() => RefOr::T(Schema::Object(ObjectBuilder::new().build())),
        None => RefOr::Ref(Ref::from_schema_name(name)),
    }
}

/// The document.
pub(super) fn document(routes: Vec<Route>) -> OpenApi {
    let mut paths = PathsBuilder::new();
    for Route { method, path, summary, query, body, answer, handler: _ } in routes {
        let mut operation = OperationBuilder::new()
            .summary(Some(summary))
            .operation_id(Some(format!("{method} {path}")))
            .response(
                "200",
                ResponseBuilder::new()
                    .description("Done")
                    .content("application/json", ContentBuilder::new().schema(Some(reference(answer))).build()),
            )
            .response(
                "default",
                ResponseBuilder::new()
                    .description("Refused: what, where, what to do")
                    .content("application/json", ContentBuilder::new().schema(Some(reference("Problem"))).build()),
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
            let content = ContentBuilder::new().schema(Some(reference(body))).build();
            operation =
                operation.request_body(Some(RequestBodyBuilder::new().content("application/json", content).build()));
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
        .components(Some(ComponentsBuilder::new().schemas_from_iter(schemas()).security_scheme("token", token).build()))
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
