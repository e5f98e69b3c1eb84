//! DNS server on loopback, over UDP and TCP, with records that a test changes at runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::rr::rdata::{CNAME, SOA, TXT};
use hickory_server::proto::rr::{LowerName, Name, RData, Record, RecordType, RrKey};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// Zero, as the edge must not cache a record either.
const TTL: u32 = 0;

/// Server, ended on drop.
pub(crate) struct Dns {
    address: SocketAddr,
    zone: Arc<InMemoryZoneHandler>,
    questions: Arc<AtomicUsize>,
    _server: Server<Counting>,
}

/// Counts the questions before the responses.
struct Counting {
    catalog: Catalog,
    questions: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl RequestHandler for Counting {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, response: R) -> ResponseInfo {
        self.questions.fetch_add(1, Ordering::SeqCst);
        self.catalog.handle_request::<R, T>(request, response).await
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

impl Dns {
    /// Starts a server that knows no name.
    pub(crate) async fn start() -> Self {
        let root = Name::root();
        let zone = InMemoryZoneHandler::empty(root.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let soa = SOA::new(name("ns.test."), name("admin.test."), 1, 3_600, 600, 86_400, TTL);
        assert!(zone.upsert(Record::from_rdata(root.clone(), TTL, RData::SOA(soa)), 0).await);
        let zone = Arc::new(zone);
        let mut catalog = Catalog::new();
        catalog.upsert(root.into(), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        let questions = Arc::new(AtomicUsize::new(0));
        let mut server = Server::new(Counting { catalog, questions: Arc::clone(&questions) });
        let (tcp, udp) = sockets().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(10), 16);
        Self { address, zone, questions, _server: server }
    }

    /// Settings for an `edge.toml` that use the server.
    pub(crate) fn toml(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]", self.address)
    }

    /// Adds a TXT record.
    pub(crate) async fn txt(&self, host: &str, text: &str) {
        // A record's strings have at most 255 bytes each (RFC 1035 §3.3.14).
        let strings = text.as_bytes().chunks(255).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
        self.add(host, RData::TXT(TXT::new(strings))).await;
    }

    /// Adds a CNAME record.
    pub(crate) async fn cname(&self, host: &str, target: &str) {
        self.add(host, RData::CNAME(CNAME(name(target)))).await;
    }

    async fn add(&self, host: &str, data: RData) {
        let serial = self.zone.serial().await;
        assert!(self.zone.upsert(Record::from_rdata(name(host), TTL, data), serial).await, "{host}");
    }

    /// Removes the TXT records of a name.
    pub(crate) async fn forget(&self, host: &str) {
        let key = RrKey::new(LowerName::new(&name(host)), RecordType::TXT);
        assert!(self.zone.records_mut().await.remove(&key).is_some(), "{host}");
    }

    /// Number of questions.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
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
