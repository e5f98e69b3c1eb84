//! Ports of instances taken over by another app's instance.

use http::Method;
use serde_json::json;

use crate::support::backends::{Backend, is_root};
use crate::support::{edge, eventually, got};

const SHOP: &str = "shop.localhost";
const MALLORY: &str = "mallory.localhost";

/// Releases the port after answering with its number, and takes the port back once another process has used the port.
const LET_GO: &str = "
  const net = require('net'), port = +process.env.PORT;
  const take = () => { server.once('error', () => setTimeout(take, 10)); server.listen(port, '127.0.0.1'); };
  const wait = () => net.connect(port, '127.0.0.1').on('error', () => setTimeout(wait, 10))
    .on('connect', function () { this.destroy(); take(); });
  answer.on('finish', () => { server.close(); server.closeAllConnections(); wait(); });
  port";

/// Takes the port and answers all connections.
const TAKE: &str = "
  globalThis.requests = 0;
  globalThis.thief = require('net').createServer((socket) => socket.on('error', () => {}).on('data', () => {
    requests += 1;
    socket.write('HTTP/1.1 200 OK\\r\\ncontent-length: 6\\r\\n\\r\\nstolen');
  }));
  new Promise((done) => {
    thief.on('listening', () => done(true)).on('error', () => setTimeout(() => thief.listen(PORT, '127.0.0.1'), 10));
    thief.listen(PORT, '127.0.0.1');
  })";

/// Another app's instance bound a port that the owner had closed for half a second, accepted connections, and closed
/// the listener. The attacker's connections kept answering a third of the requests, while every check found the
/// instance healthy.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_takes_the_port_of_another_ones_instance_gets_none_of_its_requests() {
    if !is_root() {
        return;
    }
    // Every connection verifies the owner of the port, since the runner's checks are disabled here.
    let edge = edge().with_runner().with_limit("instance_health_ms", 3_600_000).start().await;
    for app in ["shop", "mallory"] {
        edge.push_backend(edge.admin_token(), (app, "prod"), &Backend::new(app)).await.unwrap();
    }
    let port = edge.evaluate(SHOP, LET_GO).await;
    assert_eq!(edge.evaluate(MALLORY, &TAKE.replace("PORT", &port.to_string())).await, json!(true));
    let answer = got(edge.visit(Method::POST, SHOP, "/api/evaluate").body("1")).await;
    assert_ne!(answer.text(), "stolen");
    // The attacker closes the listener and keeps the accepted connections.
    edge.evaluate(MALLORY, "thief.close(), 1").await;
    eventually("the instance has its port again", async || {
        got(edge.visit(Method::POST, SHOP, "/api/evaluate").body("6 * 7")).await.text() == "42"
    })
    .await;
    for _ in 0..20 {
        assert_eq!(edge.evaluate(SHOP, "6 * 7").await, json!(42));
    }
    assert_eq!(edge.evaluate(MALLORY, "requests").await, json!(0));
    edge.stop().await;
}
