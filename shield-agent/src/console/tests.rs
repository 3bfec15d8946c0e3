//! The console from outside: requests as browsers and scripts send them, to handlers on a real engine.

mod api;
mod forms;
pub(in crate::console) mod samples;
mod site;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use tower::ServiceExt as _;

use super::app::App;
use super::{Door, router};
use crate::approval::tests::world::World;
use crate::approval::view::HoldView;
use crate::config::ConsoleConfig;

const SITE: &str = "http://localhost:7443";

/// A console on an engine of its own, and a reviewer who is logged in.
pub(in crate::console) struct Console {
    world: World,
    app: App,
    door: Router,
    /// What the reviewer's browser keeps.
    cookie: String,
    csrf: String,
    _dir: tempfile::TempDir,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    head: axum::http::HeaderMap,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> &str {
        self.head.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Console {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::new(&dir).await;
        let app = App::new(world.engine.clone(), &config(), Door::Console);
        let door = router(world.engine.clone(), &config(), Door::Console);
        let (link, _) = app.sessions.create_link(Timestamp::now()).await.unwrap();
        let (token, _) = app.sessions.consume_link(&link, "Ada", Timestamp::now()).await.unwrap().unwrap();
        let (cookie, csrf) = (format!("shield={}", token.reveal()), token.derived("csrf"));
        Self { world, app, door, cookie, csrf, _dir: dir }
    }

    /// A hold that waits.
    async fn hold(&mut self, path: &str) -> HoldView {
        let id = self.world.hold(&crate::approval::tests::world::request(path)).await;
        self.now(&id.to_string()).await
    }

    async fn now(&self, id: &str) -> HoldView {
        self.world.engine.hold(id).await.unwrap()
    }

    /// Sends a request as it is.
    async fn send(&self, request: Request<Body>) -> Answer {
        read(self.door.clone(), request).await
    }

    /// The reviewer's browser opens a page.
    async fn open(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    /// The reviewer's browser sends a form of ours.
    async fn submit(&self, path: &str, form: &str) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.header("origin", SITE).body(Body::from(form.to_owned())).unwrap()).await
    }

    /// A script of the reviewer's calls the API.
    async fn call(&self, path: &str, body: &serde_json::Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost:7443")
            .header(header::COOKIE, &self.cookie)
    }
}

async fn read(door: Router, request: Request<Body>) -> Answer {
    let (parts, body) = door.oneshot(request).await.unwrap().into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Answer { status: parts.status, head: parts.headers, body }
}

fn config() -> ConsoleConfig {
    let listen: SocketAddr = "127.0.0.1:7443".parse().unwrap();
    ConsoleConfig { listen, public_url: SITE.into(), tls: None }
}
