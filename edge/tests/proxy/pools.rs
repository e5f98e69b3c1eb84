//! Pools with failing members: real processes that are killed, stopped and restarted, and raw sockets that count.

use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use http_body_util::Full;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::proxy::support::{Front, OK, Setup, bare_backend, eventually, receive, run};

/// Node.js server in a separate process that answers with its name, killed on drop.
struct Process {
    name: &'static str,
    address: SocketAddr,
    child: Child,
}

const PROGRAM: &str = "
const [name, port] = process.argv.slice(1);
const server = require('http').createServer((request, response) => {
    request.resume();
    request.on('end', () => response.end(name));
});
server.listen(Number(port), '127.0.0.1', () => console.log(server.address().port));
";

impl Process {
    fn start(name: &'static str) -> Self {
        Self::start_at(name, 0)
    }

    fn start_at(name: &'static str, port: u16) -> Self {
        let mut command = Command::new("node");
        command.args(["-e", PROGRAM, name, &port.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        Self { name, address: SocketAddr::from(([127, 0, 0, 1], port)), child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts the killed process.
    fn start_again(&mut self) {
        *self = Self::start_at(self.name, self.address.port());
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn front(backends: &[SocketAddr], declared: serde_json::Value) -> Front {
    front_with(backends, Setup { declared, ..Setup::default() }).await
}

async fn front_with(backends: &[SocketAddr], setup: Setup) -> Front {
    let to: Vec<String> = backends.iter().map(|address| format!("http://{address}")).collect();
    Front::start(&to.join(" "), setup).await
}

async fn post(front: &Front) -> u16 {
    let request = Request::post("/").header("host", "shop.example").body(Full::from("order")).unwrap();
    front.ask::<Full<Bytes>>(request).await.status().as_u16()
}

/// Sends requests until the member `name` answers.
async fn until_answered_by(front: &Front, name: &str) {
    for _ in 0..2_000 {
        if front.get("/").await == (200, name.to_owned()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{name} never answered");
}

/// Backend that reads each request, sends the answer, and counts requests; `None` closes at once.
async fn counting(answer: Option<&'static [u8]>) -> (SocketAddr, Rc<Cell<usize>>) {
    let count: Rc<Cell<usize>> = Rc::default();
    let counted = Rc::clone(&count);
    let address = bare_backend(move |mut stream, _| {
        let count = Rc::clone(&counted);
        async move {
            while receive(&mut stream).await.is_some() {
                count.set(count.get() + 1);
                let Some(answer) = answer else { return };
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    (address, count)
}

/// Address without a listener.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn a_killed_backend_costs_no_request_and_one_that_is_back_gets_its_share() {
    run(async {
        let (one, two) = (Process::start("one"), RefCell::new(Process::start("two")));
        let addresses = [one.address, two.borrow().address];
        let front = &front(&addresses, json!({"eject_ms": 300})).await;
        until_answered_by(front, "one").await;
        until_answered_by(front, "two").await;
        let (done, request) = (&Cell::new(false), &Cell::new(0));
        let load = || async move {
            while !done.get() {
                let (status, text) = front.get("/").await;
                assert_eq!(status, 200, "{text}");
                request.set(request.get() + 1);
            }
        };
        let faults = async {
            for _ in 0..3 {
                let before = request.get();
                eventually("requests go on", || request.get() >= before + 50).await;
                two.borrow_mut().kill();
                let before = request.get();
                eventually("requests go on without it", || request.get() >= before + 50).await;
                two.borrow_mut().start_again();
                until_answered_by(front, "two").await;
            }
            done.set(true);
        };
        tokio::join!(load(), load(), load(), load(), faults);
    });
}

#[test]
fn a_post_that_reached_nobody_goes_to_another_and_one_that_reached_somebody_goes_out_once() {
    run(async {
        let (well, served) = counting(Some(OK)).await;
        // `eject_after = 0`: the dead member remains eligible.
        let front_to_dead = front(&[well, nobody().await], json!({"eject_after": 0, "retry_percent": 100})).await;
        for _ in 0..40 {
            assert_eq!(post(&front_to_dead).await, 200);
        }
        assert_eq!(served.get(), 40);
        assert!(front_to_dead.client.counts().retried > 0, "the dead one was drawn too");

        let (closing, reached) = counting(None).await;
        let front = front(&[well, closing], json!({"eject_after": 0, "retry_percent": 100})).await;
        served.set(0);
        let mut statuses = Vec::new();
        for _ in 0..40 {
            statuses.push(post(&front).await);
        }
        let failed = statuses.iter().filter(|status| **status == 502).count();
        assert_eq!(
            (failed, statuses.len() - failed),
            (reached.get(), served.get()),
            "each was sent once: {statuses:?}"
        );
        assert!(failed > 0 && front.client.counts().retried == 0);
        // Idempotent requests are retried on the other member.
        for _ in 0..40 {
            assert_eq!(front.method("DELETE", "/").await.0, 200);
        }
    });
}

#[test]
fn a_hung_backend_is_a_504_then_left_out_and_back_by_itself() {
    run(async {
        let (one, two) = (Process::start("one"), Process::start("two"));
        let declared = json!({"eject_after": 2, "eject_ms": 300});
        let setup = Setup { declared, route: json!({"first_byte_timeout_ms": 300}), ..Setup::default() };
        let front = front_with(&[one.address, two.address], setup).await;
        until_answered_by(&front, "two").await;
        // The system accepts connections, and the suspended process never answers.
        two.signal(Signal::STOP);
        let mut late = 0;
        while front.way.pool.members()[1].state().word() == "up" {
            let (status, text) = front.get("/").await;
            assert!(status == 504 || (status, text.as_str()) == (200, "one"), "{status} {text}");
            late += usize::from(status == 504);
        }
        assert_eq!(late, 2);
        assert_eq!(front.get("/").await, (200, "one".to_owned()));
        two.signal(Signal::CONT);
        until_answered_by(&front, "two").await;
    });
}

#[test]
fn when_all_are_down_the_answer_is_quick_and_when_one_is_back_it_serves() {
    run(async {
        let (mut one, mut two) = (Process::start("one"), Process::start("two"));
        let front = front(&[one.address, two.address], json!({"eject_after": 2})).await;
        until_answered_by(&front, "one").await;
        until_answered_by(&front, "two").await;
        one.kill();
        two.kill();
        for _ in 0..30 {
            assert_eq!((front.get("/").await.0, post(&front).await), (502, 502));
        }
        // One of the two members is ejected for ten seconds, and the last member is never ejected.
        let state = |number: usize| front.way.pool.members()[number].state().word();
        let last = usize::from(state(0) != "up");
        assert_eq!(state(last), "up");
        let (back, other) = if last == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        back.start_again();
        assert_eq!(front.get("/").await, (200, back.name.to_owned()));
        // The ejected member serves once the last member is gone again.
        back.kill();
        other.start_again();
        until_answered_by(&front, other.name).await;
    });
}

#[test]
fn the_last_one_is_asked_however_often_it_fails() {
    run(async {
        let (closing, reached) = counting(None).await;
        let front = front(&[closing], json!({"eject_after": 1})).await;
        for _ in 0..20 {
            assert_eq!(front.get("/").await.0, 502);
        }
        assert_eq!((reached.get(), front.way.pool.members()[0].state().word()), (20, "up"));
    });
}

#[test]
fn a_pool_in_trouble_is_not_asked_many_times_over() {
    run(async {
        let backends = [counting(None).await, counting(None).await, counting(None).await];
        let addresses = backends.each_ref().map(|(address, _)| *address);
        let front = front(&addresses, json!({"eject_after": 0, "retries": 2})).await;
        for _ in 0..200 {
            assert_eq!(front.get("/").await.0, 502);
        }
        let reached: usize = backends.iter().map(|(_, count)| count.get()).sum();
        // The budget contains ten saved retries, and a fifth of requests may be retries.
        assert!((201..=200 + 10 + 40).contains(&reached), "{reached}");
    });
}

#[test]
fn a_member_that_says_that_it_is_not_well_gets_nothing_until_it_is() {
    run(async {
        let wells: Vec<Rc<Cell<bool>>> = vec![Rc::new(Cell::new(true)), Rc::new(Cell::new(true))];
        let mut addresses = Vec::new();
        for (number, well) in wells.iter().enumerate() {
            let well = Rc::clone(well);
            let address = bare_backend(move |mut stream, _| {
                let well = Rc::clone(&well);
                async move {
                    while let Some(request) = receive(&mut stream).await {
                        let is_fine = request.line() != "GET /health HTTP/1.1" || well.get();
                        let status = if is_fine { "200 OK" } else { "503 Unavailable" };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 1\r\n\r\n{number}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
            addresses.push(address.await);
        }
        let health = json!({"path": "/health", "interval_ms": 100, "unhealthy_after": 2, "healthy_after": 2});
        let front = front(&addresses, json!({"health": health})).await;
        let states = || front.way.pool.members().iter().map(|member| member.state().word()).collect::<Vec<_>>();
        until_answered_by(&front, "0").await;
        until_answered_by(&front, "1").await;
        wells[0].set(false);
        eventually("it is found out", || states() == ["unwell", "up"]).await;
        for _ in 0..20 {
            assert_eq!(front.get("/").await, (200, "1".to_owned()));
        }
        wells[1].set(false);
        eventually("both are", || states() == ["unwell", "unwell"]).await;
        assert_eq!(front.get("/").await.0, 503);
        wells[0].set(true);
        eventually("one is well again", || states() == ["up", "unwell"]).await;
        for _ in 0..20 {
            assert_eq!(front.get("/").await, (200, "0".to_owned()));
        }
        wells[1].set(true);
        until_answered_by(&front, "1").await;
    });
}

#[test]
fn a_check_that_waits_for_its_turn_has_not_failed() {
    run(async {
        let silent = bare_backend(|mut stream, _| async move { while receive(&mut stream).await.is_some() {} }).await;
        let (one, asked_one) = counting(Some(OK)).await;
        let (two, asked_two) = counting(Some(OK)).await;
        // One concurrent check: behind the silent member, other checks wait at most the timeout of their own check.
        let health = json!({"path": "/health", "timeout_ms": 2_000, "unhealthy_after": 1});
        let setup = Setup { checks_max: 8, declared: json!({"health": health}), ..Setup::default() };
        let front = front_with(&[silent, one, two], setup).await;
        let states = || front.way.pool.members().iter().map(|member| member.state().word()).collect::<Vec<_>>();
        eventually("all were asked", || asked_one.get() > 0 && asked_two.get() > 0 && states()[0] == "unwell").await;
        assert_eq!(states(), ["unwell", "up", "up"]);
    });
}

/// Backend that answers after a delay, and records the number of concurrent requests.
async fn slow() -> (SocketAddr, Rc<Cell<usize>>) {
    let (now, most): (Rc<Cell<usize>>, Rc<Cell<usize>>) = Default::default();
    let noted = Rc::clone(&most);
    let address = bare_backend(move |mut stream, _| {
        let (now, most) = (Rc::clone(&now), Rc::clone(&noted));
        async move {
            while receive(&mut stream).await.is_some() {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                now.set(now.get() - 1);
                if stream.write_all(OK).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (address, most)
}

#[test]
fn two_hundred_clients_with_two_places_are_all_answered() {
    run(async {
        let backends = [slow().await, slow().await];
        let addresses = backends.each_ref().map(|(address, _)| *address);
        let declared = json!({"connections_max": 1, "queue_max": 256, "queue_ms": 30_000});
        let front = &front(&addresses, declared).await;
        let clients = (0..200).map(|number| async move {
            let (status, text) = front.method(if number % 2 == 0 { "GET" } else { "POST" }, "/").await;
            assert_eq!(status, 200, "{text}");
        });
        join_all(clients).await;
        assert_eq!((backends[0].1.get(), backends[1].1.get()), (1, 1));
        assert_eq!((front.way.pool.waiting(), front.client.counts().in_use), (0, 0));
    });
}

#[test]
fn a_full_queue_is_a_503_and_who_leaves_it_gives_up_the_place() {
    run(async {
        let backend = bare_backend(|mut stream, _| async move {
            receive(&mut stream).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let front = Rc::new(front(&[backend], json!({"connections_max": 1, "queue_max": 2, "queue_ms": 60_000})).await);
        let ask = || {
            let front = Rc::clone(&front);
            tokio::task::spawn_local(async move {
                let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
                std::future::pending::<()>().await;
            })
        };
        let waiting = [ask(), ask(), ask()];
        eventually("one is served, two wait", || front.way.pool.waiting() == 2 && front.client.counts().in_use == 1)
            .await;
        assert_eq!((front.get("/").await.0, post(&front).await), (503, 503));
        for (left, one) in waiting.iter().enumerate() {
            one.abort();
            eventually("its place is free", || front.way.pool.waiting() + front.client.counts().in_use == 2 - left)
                .await;
        }
    });
}

#[test]
fn a_backend_that_closes_as_the_next_request_goes_out_costs_none() {
    run(async {
        let served: Rc<Cell<usize>> = Rc::default();
        let counted = Rc::clone(&served);
        let backend = bare_backend(move |mut stream, number| {
            let served = Rc::clone(&counted);
            async move {
                // Closes after every first, second or third response, without an announcement.
                for _ in 0..=number % 3 {
                    if receive(&mut stream).await.is_none() {
                        return;
                    }
                    served.set(served.get() + 1);
                    if stream.write_all(OK).await.is_err() {
                        return;
                    }
                }
                if number % 2 == 0 {
                    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
                }
            }
        })
        .await;
        let front = &Front::to(backend).await;
        let rounds = |method: &'static str| async move {
            let mut sender = front.connect::<Full<Bytes>>().await;
            for number in 0..1_000 {
                let body = if method == "PUT" { "x" } else { "" };
                let request =
                    Request::builder().method(method).uri("/").header("host", "h").body(Full::from(body)).unwrap();
                sender.ready().await.unwrap();
                let response = sender.send_request(request).await.unwrap();
                let status = response.status();
                drop(http_body_util::BodyExt::collect(response.into_body()).await.unwrap());
                assert_eq!(status, 200, "{method} {number}");
            }
        };
        tokio::join!(rounds("GET"), rounds("PUT"), rounds("DELETE"), rounds("GET"));
        assert!(served.get() >= 4_000);
        let counts = front.client.counts();
        assert!(counts.reused > 500, "connections were used again: {counts:?}");
    });
}
