//! Every address of the console.

use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};

use super::app::{App, Door};
use super::{api, assets, events, guard, login, pages};
use crate::approval::engine::Engine;
use crate::config::ConsoleConfig;

/// Below `/api/v1`, on both doors.
pub(super) fn api_routes() -> Vec<(&'static str, MethodRouter<App>)> {
    vec![
        ("/holds", get(api::holds)),
        ("/holds/{id}", get(api::hold)),
        ("/holds/{id}/body", get(api::body)),
        ("/holds/{id}/decision", post(api::decide)),
        ("/holds/{id}/revoke", post(api::revoke)),
        ("/agents", get(api::agents)),
        ("/agents/{name}", get(api::agent)),
        ("/agents/{name}/freeze", post(api::freeze)),
        ("/agents/{name}/thaw", post(api::thaw)),
        ("/exchanges", get(api::exchanges)),
        ("/events", get(events::events)),
        ("/openapi.json", get(api::description)),
    ]
}

/// The handlers of one door.
pub fn router(engine: Engine, config: &ConsoleConfig, door: Door) -> Router {
    let app = App::new(engine, config, door);
    let mut api = Router::new();
    for (path, handlers) in api_routes() {
        api = api.route(path, handlers);
    }
    let routes = match door {
        Door::Console => pages_and_login(),
        Door::Control => {
            api = api.route("/login-links", post(api::login_link));
            Router::new()
        }
    };
    routes
        .nest("/api/v1", api)
        .route("/healthz", get(api::healthy))
        .route("/readyz", get(api::ready))
        .fallback(pages::not_found)
        .method_not_allowed_fallback(pages::not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), guard::check))
        .layer(middleware::from_fn(guard::seal))
        .with_state(app)
}

fn pages_and_login() -> Router<App> {
    Router::new()
        .route("/", get(pages::queue))
        .route("/h/{id}", get(pages::hold))
        .route("/h/{id}/decision", post(pages::decide))
        .route("/h/{id}/revoke", post(pages::revoke))
        .route("/history", get(pages::history))
        .route("/agents", get(pages::agents))
        .route("/agents/{name}", get(pages::agent))
        .route("/agents/{name}/freeze", post(pages::freeze))
        .route("/agents/{name}/thaw", post(pages::thaw))
        .route("/login", get(login::show).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/assets/{name}", get(assets::asset))
}
