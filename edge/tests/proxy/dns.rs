//! Backends by name: addresses follow DNS, and no change fails a request.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hickory_server::proto::op::ResponseCode;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;

use crate::proxy::dns_server::{Dns, DnsBehavior};
use crate::proxy::support::{Front, Setup, eventually, receive, run};

/// Backends of one port at several addresses, which answer with the address, and delay `/long` until released.
struct Backends {
    port: u16,
    gate: Rc<Semaphore>,
    /// Connections made to each address.
    connections: Vec<Rc<Cell<usize>>>,
}

impl Backends {
    async fn at(hosts: &[&str]) -> Self {
        let gate = Rc::new(Semaphore::new(0));
        for _ in 0..100 {
            let first = TcpListener::bind((hosts[0], 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut listeners = vec![first];
            for host in &hosts[1..] {
                listeners.extend(TcpListener::bind((*host, port)).await);
            }
            if listeners.len() == hosts.len() {
                let connections = listeners.into_iter().map(|listener| serve(listener, Rc::clone(&gate))).collect();
                return Self { port, gate, connections };
            }
        }
        panic!("no port is free at all of {hosts:?}");
    }

    fn connections(&self, number: usize) -> usize {
        self.connections[number].get()
    }
}

fn serve(listener: TcpListener, gate: Rc<Semaphore>) -> Rc<Cell<usize>> {
    let connections: Rc<Cell<usize>> = Rc::default();
    let counted = Rc::clone(&connections);
    tokio::task::spawn_local(async move {
        let own = listener.local_addr().unwrap().ip().to_string();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.set(counted.get() + 1);
            let (own, gate) = (own.clone(), Rc::clone(&gate));
            tokio::task::spawn_local(async move {
                while let Some(received) = receive(&mut stream).await {
                    if received.line().contains("/long") {
                        gate.acquire().await.unwrap().forget();
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{own}", own.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    connections
}

async fn front(dns: &Dns, port: u16, setup: Setup) -> Front {
    Front::start(&format!("http://api.test:{port}"), Setup { dns: vec![dns.address], ..setup }).await
}

fn members(front: &Front) -> Vec<String> {
    let members = front.way.pool.members();
    let mut all: Vec<String> = members.iter().map(|member| member.endpoint.to_string()).collect();
    all.sort();
    all
}

#[test]
fn a_name_is_all_of_its_addresses_of_both_kinds() {
    run(async {
        let hosts: &[&str] =
            if TcpListener::bind("[::1]:0").await.is_ok() { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
        let backends = Backends::at(hosts).await;
        let dns = Dns::start(DnsBehavior::at(&["127.0.0.1", "::1", "127.0.0.1"])).await;
        let front = front(&dns, backends.port, Setup::default()).await;
        assert_eq!(front.get("/").await.0, 200);
        assert_eq!(members(&front), [format!("127.0.0.1:{}", backends.port), format!("[::1]:{}", backends.port)]);
        for host in hosts {
            let mut found = false;
            for _ in 0..200 {
                found |= front.get("/").await == (200, (*host).to_owned());
            }
            assert!(found, "{host} is asked too");
        }
    });
}

#[test]
fn a_later_server_that_does_not_know_a_name_does_not_answer_for_the_first() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        let (first, second) = (Dns::start(DnsBehavior::Silent).await, Dns::start(DnsBehavior::KnowsNoName).await);
        let setup = Setup { dns: vec![first.address, second.address], ..Setup::default() };
        let request = async {
            let front = Front::start(&format!("http://api.test:{}", backends.port), setup).await;
            front.get("/").await
        };
        // Both questions were sent at once, and the second answer arrived first.
        let answer = async {
            eventually("the first server is asked", || first.questions() > 0).await;
            first.set(DnsBehavior::at(&["127.0.0.1"]));
        };
        let (response, ()) = tokio::join!(request, answer);
        assert_eq!(response, (200, "127.0.0.1".to_owned()));
    });
}

#[test]
fn the_next_server_is_asked_where_one_says_nothing_or_cannot_tell() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        let good = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
        let asked = async |first: SocketAddr, what: &str| {
            let setup = Setup { dns: vec![first, good.address], ..Setup::default() };
            let front = Front::start(&format!("http://api.test:{}", backends.port), setup).await;
            assert_eq!(front.get("/").await, (200, "127.0.0.1".to_owned()), "{what}");
        };
        let codes = [
            ResponseCode::FormErr,
            ResponseCode::NotAuth,
            ResponseCode::NotImp,
            ResponseCode::NotZone,
            ResponseCode::Refused,
            ResponseCode::ServFail,
        ];
        for mood in codes.map(DnsBehavior::Says).into_iter().chain([DnsBehavior::Refers, DnsBehavior::Silent]) {
            let bad = Dns::start(mood.clone()).await;
            asked(bad.address, &format!("{mood:?}")).await;
            assert!(bad.questions() > 0, "{mood:?}");
        }
        // A recently free port has no listener.
        let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        asked(closed, "closed").await;
    });
}

#[test]
fn a_family_of_addresses_that_nobody_answers_for_holds_up_no_request() {
    run(async {
        let with_six = TcpListener::bind("[::1]:0").await.is_ok();
        for host in ["127.0.0.1", "::1"].into_iter().take(1 + usize::from(with_six)) {
            let backends = Backends::at(&[host]).await;
            let dns = Dns::start(DnsBehavior::OneFamily(vec![host.parse().unwrap()])).await;
            // Waiting for the other address family took six seconds.
            let route = json!({"connect_timeout_ms": 3_000});
            let front = front(&dns, backends.port, Setup { route, ..Setup::default() }).await;
            assert_eq!(front.get("/").await, (200, host.to_owned()));
        }
    });
}

#[test]
fn a_name_may_hold_what_compose_puts_into_one() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
        for name in ["my_api", "project_api_1", "_api_", "a_.b-.test", "MY_API", "my_api.test."] {
            let setup = Setup { dns: vec![dns.address], ..Setup::default() };
            let front = Front::start(&format!("http://{name}:{}", backends.port), setup).await;
            assert_eq!(front.get("/").await.0, 200, "{name}: {:?}", front.outcomes.borrow());
        }
    });
}

#[test]
fn traffic_follows_the_addresses_without_a_failed_request() {
    run(async {
        let backends = Backends::at(&["127.0.0.1", "127.0.0.2"]).await;
        let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
        let front = &front(&dns, backends.port, Setup::default()).await;
        let (done, request) = (&Cell::new(false), &Cell::new(0));
        let load = |method: &'static str| async move {
            while !done.get() {
                assert_eq!(front.method(method, "/").await.0, 200, "{method}");
                request.set(request.get() + 1);
            }
        };
        let changes = async {
            for addresses in [&["127.0.0.2"][..], &["127.0.0.1", "127.0.0.2"], &["127.0.0.1"]].iter().cycle().take(30) {
                dns.set(DnsBehavior::at(addresses));
                let expected: Vec<String> = addresses.iter().map(|one| format!("{one}:{}", backends.port)).collect();
                eventually("the members are those", || members(front) == expected).await;
                let before = request.get();
                eventually("requests go on", || request.get() >= before + 8).await;
            }
            done.set(true);
        };
        tokio::join!(load("GET"), load("POST"), load("DELETE"), load("POST"), changes);
        assert_eq!(front.get("/").await, (200, "127.0.0.1".to_owned()));
    });
}

#[test]
fn what_is_under_way_to_an_address_that_is_gone_is_answered_by_it() {
    run(async {
        let backends = Backends::at(&["127.0.0.1", "127.0.0.2"]).await;
        let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
        let front = &front(&dns, backends.port, Setup::default()).await;
        let moved = async {
            eventually("it is under way", || front.client.counts().in_use == 1).await;
            dns.set(DnsBehavior::at(&["127.0.0.2"]));
            eventually("others are asked", || members(front) == [format!("127.0.0.2:{}", backends.port)]).await;
            assert_eq!(front.get("/").await, (200, "127.0.0.2".to_owned()));
            backends.gate.add_permits(1);
        };
        let (long, ()) = tokio::join!(front.get("/long"), moved);
        assert_eq!(long, (200, "127.0.0.1".to_owned()));
        // The connection to the removed address is closed; the connection to the other stays.
        eventually("one is kept", || front.client.counts().idle == 1).await;
    });
}

#[test]
fn the_last_addresses_stay_while_dns_is_in_trouble() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        for trouble in [DnsBehavior::Fails, DnsBehavior::Silent] {
            let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
            let front = front(&dns, backends.port, Setup { idle_max: 0, ..Setup::default() }).await;
            assert_eq!(front.get("/").await.0, 200);
            dns.set(trouble);
            for _ in 0..5 {
                let before = dns.questions();
                eventually("it is asked", || dns.questions() > before).await;
                assert_eq!(front.get("/").await.0, 200);
            }
        }
    });
}

#[test]
fn that_a_name_has_no_address_any_more_is_believed_only_after_a_while() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        for nothing in [DnsBehavior::KnowsNoName, DnsBehavior::at(&[])] {
            let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
            let long = Setup { dns_hold: Duration::from_secs(3_600), ..Setup::default() };
            let (held, dropped) =
                (front(&dns, backends.port, long).await, front(&dns, backends.port, Setup::default()).await);
            assert_eq!((held.get("/").await.0, dropped.get("/").await.0), (200, 200));
            dns.set(nothing);
            eventually("it is believed", || members(&dropped).is_empty()).await;
            assert_eq!(dropped.get("/").await.0, 502);
            assert_eq!(held.get("/").await.0, 200);
            dns.set(DnsBehavior::at(&["127.0.0.1"]));
            eventually("it is back", || !members(&dropped).is_empty()).await;
            assert_eq!(dropped.get("/").await.0, 200);
        }
    });
}

#[test]
fn the_first_requests_wait_for_the_first_answer() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        let dns = Dns::start(DnsBehavior::Silent).await;
        let front = &front(&dns, backends.port, Setup::default()).await;
        let answered = async {
            eventually("all wait", || front.way.pool.waiting() == 3).await;
            dns.set(DnsBehavior::at(&["127.0.0.1"]));
        };
        let answers = tokio::join!(front.get("/"), front.method("POST", "/"), front.get("/"), answered);
        assert_eq!((answers.0.0, answers.1.0, answers.2.0), (200, 200, 200));
    });
}

#[test]
fn a_name_without_an_address_is_a_502_until_dns_says_otherwise() {
    run(async {
        let backends = Backends::at(&["127.0.0.1"]).await;
        for nothing in [DnsBehavior::KnowsNoName, DnsBehavior::at(&[]), DnsBehavior::Fails, DnsBehavior::Silent] {
            let dns = Dns::start(nothing.clone()).await;
            let route = json!({"connect_timeout_ms": 200});
            let front = front(&dns, backends.port, Setup { route, ..Setup::default() }).await;
            for _ in 0..3 {
                assert_eq!(front.get("/").await.0, 502, "{nothing:?}: {:?}", front.outcomes.borrow());
            }
            dns.set(DnsBehavior::at(&["127.0.0.1"]));
            eventually("there is an address", || !members(&front).is_empty()).await;
            assert_eq!(front.get("/").await.0, 200);
        }
    });
}

#[test]
fn a_name_without_an_answer_holds_up_no_other() {
    run(async {
        let backends = Backends::at(&["127.0.0.1", "127.0.0.2"]).await;
        let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
        let to = format!("http://mute.test:{0} http://api.test:{0}", backends.port);
        let setup = Setup { dns: vec![dns.address], route: json!({"connect_timeout_ms": 1_000}), ..Setup::default() };
        let front = Front::start(&to, setup).await;
        assert_eq!(front.get("/").await, (200, "127.0.0.1".to_owned()));
        for (number, address) in ["127.0.0.2", "127.0.0.1"].iter().cycle().take(6).enumerate() {
            dns.set(DnsBehavior::at(&[address]));
            // While the other question is still pending.
            let moved = async { while front.get("/").await != (200, (*address).to_owned()) {} };
            tokio::time::timeout(Duration::from_secs(1), moved).await.unwrap_or_else(|_| panic!("change {number}"));
        }
    });
}

#[test]
fn a_name_that_is_rebound_gains_a_stranger_nothing() {
    run(async {
        let backends = Backends::at(&["127.0.0.1", "127.0.0.2"]).await;
        for rebound in [
            "127.0.0.2",
            "169.254.169.254",
            "::1",
            "::ffff:127.0.0.2",
            "0.0.0.0",
            "10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:2",
            "2002:7f00:2::1",
            "fe80::1",
            "fd00:ec2::254",
            "fd12::1",
        ] {
            let dns = Dns::start(DnsBehavior::at(&["127.0.0.1"])).await;
            let declared = json!({"eject_after": 0});
            let stranger = Setup { trusted: false, allow: vec!["127.0.0.1/32"], declared, ..Setup::default() };
            let front = front(&dns, backends.port, stranger).await;
            assert_eq!(front.get("/").await, (200, "127.0.0.1".to_owned()));
            dns.set(DnsBehavior::at(&[rebound]));
            let at = SocketAddr::new(rebound.parse().unwrap(), backends.port).to_string();
            eventually("it is rebound", || members(&front) == [at.clone()]).await;
            assert_eq!(front.get("/").await.0, 502, "{rebound}");
            let last = front.outcomes.borrow().last().cloned().unwrap_or_default();
            assert!(last.starts_with("Forbidden("), "{rebound}: {last}");
            // A forbidden address is skipped if a permitted address exists.
            dns.set(DnsBehavior::at(&["127.0.0.1", rebound]));
            eventually("both are known", || members(&front).len() == 2).await;
            for _ in 0..5 {
                assert_eq!(front.get("/").await, (200, "127.0.0.1".to_owned()), "{rebound}");
            }
        }
        assert_eq!(backends.connections(1), 0, "nobody came there");
    });
}
