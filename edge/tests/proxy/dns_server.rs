//! DNS server on loopback, over UDP and TCP, with a behavior that a test changes at runtime.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Metadata, ResponseCode};
use hickory_server::proto::rr::rdata::{A, AAAA, NS};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// Behavior towards a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DnsBehavior {
    /// Answers with the addresses and a TTL of zero; an empty list means a name without addresses.
    Answers(Vec<IpAddr>),
    /// Answers SERVFAIL.
    Fails,
    /// Answers NXDOMAIN.
    KnowsNoName,
    /// Answers with the addresses; never answers for the family without addresses.
    OneFamily(Vec<IpAddr>),
    /// Refers to another server.
    Refers,
    /// Answers with a bare response code.
    Says(ResponseCode),
    /// Never answers, until the behavior changes.
    Silent,
}

impl DnsBehavior {
    pub(crate) fn at(addresses: &[&str]) -> Self {
        Self::Answers(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

#[derive(Debug)]
struct State {
    mood: DnsBehavior,
    questions: usize,
}

/// Server, ended on drop. Never answers for names that begin with `mute`.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: Server<DnsHandler>,
}

struct DnsHandler(Arc<Mutex<State>>);

#[async_trait::async_trait]
impl RequestHandler for DnsHandler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let question = request.request_info().unwrap().query;
        if question.name().to_string().starts_with("mute") {
            std::future::pending::<()>().await;
        }
        let mood = loop {
            let mood = self.0.lock().unwrap().mood.clone();
            if mood != DnsBehavior::Silent {
                break mood;
            }
            self.0.lock().unwrap().questions += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.0.lock().unwrap().questions += 1;
        let builder = MessageResponseBuilder::from_message_request(request);
        let is_mute = matches!(mood, DnsBehavior::OneFamily(_));
        let sent = match mood {
            DnsBehavior::Answers(addresses) | DnsBehavior::OneFamily(addresses) => {
                let of = |address: IpAddr| match (address, question.query_type()) {
                    (IpAddr::V4(four), RecordType::A) => Some(RData::A(A(four))),
                    (IpAddr::V6(six), RecordType::AAAA) => Some(RData::AAAA(AAAA(six))),
                    _ => None,
                };
                let data = addresses.into_iter().filter_map(of);
                let records: Vec<Record> =
                    data.map(|data| Record::from_rdata(question.name().into(), 0, data)).collect();
                if records.is_empty() && is_mute {
                    std::future::pending::<()>().await;
                }
                let metadata = Metadata::response_from_request(&request.metadata);
                response.send_response(builder.build(metadata, &records, [], [], [])).await
            }
            DnsBehavior::Refers => {
                let other = RData::NS(NS(Name::from_ascii("ns.elsewhere.test.").unwrap()));
                let referral = Record::from_rdata(question.name().into(), 0, other);
                let metadata = Metadata::response_from_request(&request.metadata);
                response.send_response(builder.build(metadata, [], [&referral], [], [])).await
            }
            DnsBehavior::Says(code) => response.send_response(builder.error_msg(&request.metadata, code)).await,
            DnsBehavior::Fails => {
                response.send_response(builder.error_msg(&request.metadata, ResponseCode::ServFail)).await
            }
            DnsBehavior::KnowsNoName | DnsBehavior::Silent => {
                response.send_response(builder.error_msg(&request.metadata, ResponseCode::NXDomain)).await
            }
        };
        sent.unwrap()
    }
}

impl Dns {
    pub(crate) async fn start(mood: DnsBehavior) -> Self {
        let state = Arc::new(Mutex::new(State { mood, questions: 0 }));
        let mut server = Server::new(DnsHandler(Arc::clone(&state)));
        let (tcp, udp) = sockets().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 16);
        Self { address, state, _server: server }
    }

    pub(crate) fn set(&self, mood: DnsBehavior) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Number of questions, including polls of pending questions.
    pub(crate) fn questions(&self) -> usize {
        self.state.lock().unwrap().questions
    }
}

/// One port for both protocols: chosen by the system for one, and retried if taken for the other.
async fn sockets() -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            return (tcp, udp);
        }
    }
    panic!("no port is free for both");
}
