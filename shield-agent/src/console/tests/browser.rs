//! A console with a reviewer's browser in front of it.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use serde_json::Value;

use crate::approval::tests::world::{World, request};
use crate::config::ConsoleConfig;
use crate::console::app::App;
use crate::console::{Door, router};
use crate::names::HoldId;
use crate::store::sessions::Token;

/// What the browser's address bar shows.
pub(super) const HOST: &str = "localhost:7443";

/// A console, its engine, and the cookie of whoever is logged in.
pub(super) struct Console {
    pub(super) world: World,
    pub(super) app: App,
    pub(super) cookie: Option<String>,
    router: Router,
    _dir: tempfile::TempDir,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Console {
    /// With nobody logged in.
    pub(super) async fn new(door: Door) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(&dir).await;
        let config = config();
        let app = App::new(world.engine.clone(), &config, door);
        let router = router(world.engine.clone(), &config, door);
        Self { world, app, cookie: None, router, _dir: dir }
    }

    /// With Ada logged in.
    pub(super) async fn entered() -> Self {
        let mut console = Self::new(Door::Console).await;
        let (link, _) = console.app.sessions.create_link(Timestamp::now()).await.unwrap();
        let used = console.app.sessions.consume_link(&link, "Ada", Timestamp::now()).await.unwrap();
        console.cookie = Some(format!("shield={}", used.unwrap().0.reveal()));
        console
    }

    /// … and a request that waits.
    pub(super) async fn with_hold() -> (Self, HoldId) {
        let mut console = Self::entered().await;
        let hold = console.world.hold(&request("/v1/customers/8821")).await;
        (console, hold)
    }

    /// The token that Ada's forms carry.
    pub(super) fn csrf(&self) -> String {
        let cookie = self.cookie.as_ref().unwrap().strip_prefix("shield=").unwrap();
        Token::given(cookie).derived("csrf")
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(self.ask(Method::GET, path, "", "")).await
    }

    /// A form, as a page of ours sends it.
    pub(super) async fn post(&self, path: &str, form: &str) -> Reply {
        let mut request = self.ask(Method::POST, path, "application/x-www-form-urlencoded", form);
        request.headers_mut().insert(header::ORIGIN, format!("http://{HOST}").parse().unwrap());
        request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
        self.send(request).await
    }

    /// A call of a script.
    pub(super) async fn call(&self, path: &str, body: &Value) -> Reply {
        self.send(self.ask(Method::POST, path, "application/json", &body.to_string())).await
    }

    /// A request to change before it is sent.
    pub(super) fn ask(&self, method: Method, path: &str, kind: &str, body: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, HOST);
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Reply { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) fn config() -> ConsoleConfig {
    let listen = "127.0.0.1:7443".parse().unwrap();
    ConsoleConfig { listen, public_url: format!("http://{HOST}"), tls: None }
}
