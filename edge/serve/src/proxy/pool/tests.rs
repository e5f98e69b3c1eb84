//! Pools without a network: choice of members, waiting, and ejection.

use super::super::elsewhere::NodeProcess;
use super::super::membership::{self, ResolvedNames};
use super::super::registry::{Registry, RegistrySettings};
use super::super::run::{RunId, RunMember, RunNow, RunState};
use super::super::tls;
use super::*;
use devanture_store::records::StoredDesired;
use devanture_store::records::upstreams::{MemberEntry, MembersRecord};

fn pool(to: &[&str], declared: site_toml::Upstream) -> Arc<Pool> {
    let settings = RegistrySettings {
        policy: Policy::default(),
        tls: tls::trusting([]).unwrap(),
        requests_max: 1_000_000,
        sockets_max: 1_000_000,
    };
    let declared = site_toml::Upstream { to: to.iter().map(|to| to.parse().unwrap()).collect(), ..declared };
    let (app, place, name) = ("shop".parse().unwrap(), "prod".to_owned(), "api".to_owned());
    Registry::new(settings).pool(&PoolKey { app, place, name, trusted: true, declared, run: None })
}

async fn lease(pool: &Arc<Pool>) -> Result<Lease, Error> {
    pool.lease(None, Instant::now()).await
}

fn endpoint(lease: &Lease) -> String {
    lease.member.endpoint.to_string()
}

const THREE: [&str; 3] = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"];

#[tokio::test]
async fn requests_are_spread_and_nobody_has_much_more_to_do_than_another() {
    let pool = pool(&THREE, site_toml::Upstream::default());
    let mut leases = Vec::new();
    for _ in 0..300 {
        leases.push(lease(&pool).await.unwrap());
    }
    let counts: Vec<usize> = pool.members().iter().map(|member| member.in_flight()).collect();
    assert!(counts.iter().all(|count| (90..=110).contains(count)), "{counts:?}");
    drop(leases);
    assert!(pool.members().iter().all(|member| member.in_flight() == 0));
}

#[tokio::test]
async fn a_member_that_drains_or_is_not_well_gets_no_request() {
    let pool = pool(&THREE, site_toml::Upstream::default());
    pool.members()[0].set_draining(true);
    pool.members()[1].set_well(false);
    for _ in 0..50 {
        assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:3");
    }
    pool.members()[2].set_well(false);
    let error = lease(&pool).await.err().unwrap().to_string();
    assert_eq!(error, "no backend is free: none of its backends is well");
    pool.members()[1].set_well(true);
    assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:2");
}

#[tokio::test]
async fn who_failed_a_request_is_not_asked_again_while_there_is_another() {
    let pool = pool(&THREE[..2], site_toml::Upstream::default());
    let failed = pool.members()[0].id;
    for _ in 0..50 {
        let lease = pool.lease(Some(failed), Instant::now()).await.unwrap();
        assert_ne!(lease.member.id, failed);
    }
    pool.members()[1].set_draining(true);
    assert_eq!(pool.lease(Some(failed), Instant::now()).await.unwrap().member.id, failed);
}

#[tokio::test]
async fn a_member_that_fails_is_out_for_a_while_but_never_the_last_one() {
    let declared =
        site_toml::Upstream { eject_after: Some(2), eject_ms: Some(3_600_000), ..site_toml::Upstream::default() };
    let pool = pool(&THREE[..2], declared);
    let failing = |number: usize| {
        for _ in 0..2 {
            let member = Arc::clone(&pool.members()[number]);
            assert!(member.take(usize::MAX));
            Lease { member, pool: Arc::clone(&pool) }.failed();
        }
    };
    failing(0);
    assert_eq!(pool.members()[0].state(), MemberState::Ejected);
    for _ in 0..20 {
        assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:2");
    }
    failing(1);
    assert_eq!(pool.members()[1].state(), MemberState::Up, "nobody else is left");
    // An ejected member is better than a member known to be unhealthy.
    pool.members()[1].set_well(false);
    assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:1");
}

#[tokio::test(start_paused = true)]
async fn who_finds_all_busy_waits_in_a_queue_that_ends() {
    let declared = site_toml::Upstream {
        connections_max: Some(1),
        queue_max: Some(2),
        queue_ms: Some(1_000),
        ..site_toml::Upstream::default()
    };
    let pool = pool(&THREE[..1], declared);
    let first = lease(&pool).await.unwrap();
    let waiter = |pool: &Arc<Pool>| {
        let pool = Arc::clone(pool);
        tokio::spawn(async move { lease(&pool).await.map(|_lease| ()).map_err(|error| error.to_string()) })
    };
    let (second, third) = (waiter(&pool), waiter(&pool));
    while pool.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    let error = lease(&pool).await.err().unwrap().to_string();
    assert_eq!(error, "no backend is free: too many requests wait for it");
    drop(first);
    assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(()), Ok(())));
    let _busy = lease(&pool).await.unwrap();
    let late = waiter(&pool).await.unwrap();
    assert_eq!(late, Err("no backend is free: no backend was free in time".to_owned()));
    assert_eq!(pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_requests_pass_through_one_place_and_none_is_forgotten() {
    let declared = site_toml::Upstream {
        connections_max: Some(1),
        queue_max: Some(1_000),
        queue_ms: Some(60_000),
        ..site_toml::Upstream::default()
    };
    let pool = pool(&THREE[..1], declared);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let lease = lease(&pool).await.unwrap();
                assert_eq!(lease.member.in_flight(), 1);
                tokio::time::sleep(Duration::from_millis(1)).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((pool.waiting(), pool.members()[0].in_flight()), (0, 0));
}

/// A new request took a freed slot from earlier waiters.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_get_a_place_in_the_order_in_which_they_came() {
    let declared = site_toml::Upstream {
        connections_max: Some(1),
        queue_max: Some(10),
        queue_ms: Some(60_000),
        ..site_toml::Upstream::default()
    };
    let pool = pool(&THREE[..1], declared);
    let busy = lease(&pool).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let request = |number: usize| {
        let (pool, served) = (Arc::clone(&pool), Arc::clone(&served));
        async move {
            let _lease = lease(&pool).await.unwrap();
            served.lock().push(number);
        }
    };
    let mut tasks = Vec::new();
    for number in 0..5 {
        tasks.push(tokio::spawn(request(number)));
        while pool.waiting() <= number {
            tokio::task::yield_now().await;
        }
    }
    // The first waiter gives up, and the second waiter becomes the first.
    tasks.remove(0).abort();
    while pool.waiting() == 5 {
        tokio::task::yield_now().await;
    }
    drop(busy);
    request(5).await;
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*served.lock(), [1, 2, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_first_request_waits_for_the_addresses_of_a_name() {
    let pool = pool(&["http://api.internal:80"], site_toml::Upstream::default());
    assert!(pool.members().is_empty());
    let waiting = {
        let pool = Arc::clone(&pool);
        tokio::spawn(
            async move { pool.lease(None, Instant::now() + Duration::from_secs(5)).await.map(|l| endpoint(&l)) },
        )
    };
    while pool.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let mut known = ResolvedNames::default();
    known.addresses.insert("http://api.internal:80".parse().unwrap(), vec!["10.0.0.1:80".parse().unwrap()]);
    membership::update(&pool, &|| None, &known);
    assert_eq!(waiting.await.unwrap().unwrap(), "10.0.0.1:80");
    let mut nothing = ResolvedNames::default();
    nothing.failed.insert("http://api.internal:80".parse().unwrap(), "api.internal has no address".to_owned());
    membership::update(&pool, &|| None, &nothing);
    assert!(matches!(lease(&pool).await.err().unwrap(), Error::NoAddress(_)));
}

#[tokio::test]
async fn a_member_that_stays_is_the_same_one_and_one_that_joins_is_asked_first() {
    let health = serde_json::from_str(r#"{"path":"/health"}"#).unwrap();
    let pool = pool(&["http://a"], site_toml::Upstream { health: Some(health), ..site_toml::Upstream::default() });
    let address: site_toml::UpstreamUrl = "http://a".parse().unwrap();
    let known = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        ResolvedNames { addresses: [(address.clone(), addresses)].into(), ..ResolvedNames::default() }
    };
    membership::update(&pool, &|| None, &known(&["10.0.0.1:80"]));
    let first = Arc::clone(&pool.members()[0]);
    assert_eq!(first.state(), MemberState::Up);
    membership::update(&pool, &|| None, &known(&["10.0.0.1:80", "10.0.0.2:80"]));
    assert_eq!(pool.members()[0].id, first.id);
    assert_eq!(pool.members()[1].state(), MemberState::Unwell);
    membership::update(&pool, &|| None, &known(&["10.0.0.2:80"]));
    assert!(first.is_gone());
}

#[tokio::test]
async fn who_is_let_in_by_an_admin_stays_the_same_one_and_who_is_trusted_no_longer_does_not() {
    let pool = pool(&[], site_toml::Upstream::default());
    let update = |trusted| {
        let entry =
            MemberEntry { desired: StoredDesired::In, trusted, vouched: trusted, who: "ci".to_owned(), at_ms: 1 };
        let record = MembersRecord { members: [("http://127.0.0.1:1".parse().unwrap(), entry)].into() };
        let record = Arc::new(record);
        membership::update(&pool, &|| Some(Arc::clone(&record)), &ResolvedNames::default());
        Arc::clone(&pool.members()[0])
    };
    let first = update(false);
    assert!(pool.permits(&first).is_err(), "the pool's own trust is not that of who was added");
    let second = update(true);
    assert_eq!((first.id, pool.permits(&second).is_ok()), (second.id, true));
    let third = update(false);
    assert!(third.id != first.id && first.is_gone() && pool.permits(&third).is_err());
}

#[test]
fn a_state_that_is_followed_is_never_taken_back_by_a_reader_of_an_older_one() {
    let settings = RegistrySettings {
        policy: Policy::default(),
        tls: tls::trusting([]).unwrap(),
        requests_max: 1,
        sockets_max: 1_000_000,
    };
    let registry = Registry::new(settings);
    let declared = site_toml::Upstream { to: vec![THREE[0].parse().unwrap()], ..site_toml::Upstream::default() };
    let (app, place, name): (AppName, _, _) = ("shop".parse().unwrap(), "prod", "api");
    let key = PoolKey {
        app: app.clone(),
        place: place.to_owned(),
        name: name.to_owned(),
        trusted: true,
        declared,
        run: None,
    };
    let pool = registry.pool(&key);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As the maintenance thread of names does.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                membership::update(&pool, &|| registry.members_of(&pool), &ResolvedNames::default());
            }
        });
        for number in 0..5_000_u64 {
            let desired = if number % 2 == 0 { StoredDesired::Drain } else { StoredDesired::Out };
            let entry = MemberEntry { desired, trusted: false, vouched: false, who: "ci".to_owned(), at_ms: number };
            let record = MembersRecord { members: [(THREE[0].parse().unwrap(), entry)].into() };
            registry.set_members(&app, place, name, Some(record));
            for _ in 0..20 {
                let states: Vec<MemberState> = pool.members().iter().map(|member| member.state()).collect();
                let expected = if desired == StoredDesired::Drain { vec![MemberState::Draining] } else { Vec::new() };
                assert_eq!(states, expected, "step {number}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn two_are_drawn_that_differ() {
    for count in 2..10 {
        for _ in 0..200 {
            let (first, second) = two_of(count);
            assert!(first < count && second < count && first != second, "{first} {second} of {count}");
        }
    }
}

/// Returns a pool of managed instances, with its registry and run.
fn run_pool() -> (Registry, Arc<Pool>, RunId) {
    let settings = RegistrySettings {
        policy: Policy::default(),
        tls: tls::trusting([]).unwrap(),
        requests_max: 1_000,
        sockets_max: 1_000_000,
    };
    let registry = Registry::new(settings);
    let (app, place, name) = ("shop".parse().unwrap(), "prod".to_owned(), "server".to_owned());
    let run = RunKey { digest: devanture_config::Digest::of(b"1"), settings: 7 };
    let id = RunId { app, place, key: run };
    let declared = site_toml::Upstream { queue_max: Some(1), ..site_toml::Upstream::default() };
    let (app, place) = (id.app.clone(), id.place.clone());
    let pool = registry.pool(&PoolKey { app, place, name, trusted: false, declared, run: Some(run) });
    (registry, pool, id)
}

fn running(ports: &[(u16, bool)]) -> RunNow {
    let member = |(port, is_draining): &(u16, bool)| RunMember {
        endpoint: Endpoint::Tcp(([127, 0, 0, 1], *port).into()),
        is_draining: *is_draining,
        uid: None,
        scripts: None,
    };
    RunNow { state: RunState::Running, is_shared: false, members: ports.iter().map(member).collect() }
}

#[tokio::test]
async fn requests_to_instances_wait_while_these_start_and_leave_them_at_once_when_they_end() {
    let (registry, pool, id) = run_pool();
    assert!(matches!(lease(&pool).await, Err(Error::NoMember(_))), "nobody runs anything");
    registry.hear_asks(true);
    let later = Instant::now() + Duration::from_secs(60);
    let waiting = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.lease(None, later).await.map(|lease| endpoint(&lease)) }
    });
    while registry.run_waiting(&id) == 0 {
        tokio::task::yield_now().await;
    }
    // The queue is bounded here too.
    assert!(matches!(pool.lease(None, later).await, Err(Error::Unavailable(_))));
    registry.run(&id, Some(running(&[(1, false)])));
    assert_eq!(waiting.await.unwrap().unwrap(), "127.0.0.1:1");
    let first = lease(&pool).await.unwrap();
    assert!(pool.permits(&first.member).is_ok(), "loopback, whatever the policy says");
    registry.run(&id, Some(running(&[(1, true), (2, false)])));
    assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:2");
    let of_first = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
    assert_eq!((registry.run_in_flight(&id, Some(&of_first)), registry.run_in_flight(&id, None)), (1, 1));
    registry.run(&id, Some(running(&[(2, false)])));
    assert!(first.member.is_gone());
    registry.run(&id, Some(RunNow { state: RunState::Refused, is_shared: false, members: Vec::new() }));
    assert!(matches!(lease(&pool).await, Err(Error::NoMember("none of its instances runs"))));
    assert!(registry.run_idle_ms(&id).is_some());
}

/// An instance is stopped once no request is in flight: requests from before the instance became unhealthy count too.
#[tokio::test]
async fn requests_to_an_instance_are_counted_until_they_end_also_where_it_was_no_member_for_a_while() {
    let (registry, pool, id) = run_pool();
    registry.run(&id, Some(running(&[(1, false)])));
    let first = lease(&pool).await.unwrap();
    let at = |port: u16| Endpoint::Tcp(([127, 0, 0, 1], port).into());
    let in_flight = |port: u16| registry.run_in_flight(&id, Some(&at(port)));
    // The instance becomes unhealthy, healthy again, unhealthy again, and ends.
    registry.run(&id, Some(running(&[])));
    assert_eq!(in_flight(1), 1);
    registry.run(&id, Some(running(&[(1, false)])));
    let second = lease(&pool).await.unwrap();
    assert_eq!((in_flight(1), in_flight(2)), (2, 0));
    registry.run(&id, Some(running(&[])));
    registry.run(&id, Some(running(&[(1, true), (2, false)])));
    assert_eq!(in_flight(1), 2);
    drop(first);
    assert_eq!(in_flight(1), 1);
    drop(second);
    assert_eq!((in_flight(1), registry.run_in_flight(&id, None)), (0, 0));
}

/// The runner notices the end of an instance a moment after the socket is gone: requests got 503 in between.
#[tokio::test(start_paused = true)]
async fn a_request_that_an_ended_instance_did_not_accept_waits_until_that_is_noticed() {
    let (registry, run, id) = run_pool();
    registry.run(&id, Some(running(&[(1, false)])));
    let failed = run.members().first().map(|member| member.id);
    let soon = || Instant::now() + Duration::from_secs(1);
    assert!(!run.is_replaced(failed, soon()).await, "it is still a member");
    let waiting = tokio::spawn({
        let run = Arc::clone(&run);
        async move { run.is_replaced(failed, soon()).await }
    });
    tokio::task::yield_now().await;
    registry.run(&id, Some(running(&[(2, false)])));
    assert!(waiting.await.unwrap());
    let declared = pool(&THREE[..1], site_toml::Upstream::default());
    assert!(!declared.is_replaced(None, soon()).await, "nobody replaces what others run");
}

#[tokio::test]
async fn an_instance_is_only_reached_where_its_own_user_listens() {
    let (registry, pool, id) = run_pool();
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("other"), folder.path().join("s"));
    let _listener = tokio::net::UnixListener::bind(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let own = rustix::process::geteuid().as_raw();
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for endpoint in [Endpoint::Socket(link), Endpoint::Tcp(port.local_addr().unwrap())] {
        for (uid, is_reached) in [(None, true), (Some(own), true), (Some(own + 1), false)] {
            let members = vec![RunMember { endpoint: endpoint.clone(), is_draining: false, uid, scripts: None }];
            registry.run(&id, Some(RunNow { state: RunState::Running, is_shared: true, members }));
            let lease = lease(&pool).await.unwrap();
            let before = lease.member.generation();
            let connected = crate::proxy::connect::connect(&pool, &lease.member, false, Duration::from_secs(60)).await;
            assert_eq!(connected.is_ok(), is_reached, "{endpoint} {uid:?}");
            // The idle connections of an unreachable instance are not used again.
            assert_eq!(lease.member.generation() == before, is_reached, "{endpoint} {uid:?}");
            // Other nodes do not reach the instance either.
            assert_eq!(registry.arrive(&id, &endpoint).await.is_ok(), is_reached, "{endpoint} {uid:?}");
        }
    }
}

#[tokio::test]
async fn nobody_but_the_edge_names_its_instances() {
    let (registry, pool, id) = run_pool();
    registry.run(&id, Some(running(&[(1, false)])));
    let entry =
        MemberEntry { desired: StoredDesired::In, trusted: true, vouched: true, who: "ci".to_owned(), at_ms: 1 };
    let record = MembersRecord { members: [("http://127.0.0.1:9".parse().unwrap(), entry)].into() };
    registry.set_members(&id.app, "prod", "server", Some(record));
    membership::update(&pool, &|| registry.members_of(&pool), &ResolvedNames::default());
    let members: Vec<String> = pool.members().iter().map(|member| member.endpoint.to_string()).collect();
    assert_eq!(members, ["127.0.0.1:1"]);
}

#[tokio::test]
async fn instances_of_other_nodes_get_what_none_of_this_node_can_take() {
    let (registry, pool, id) = run_pool();
    let other = |process| NodeProcess { node: "edge-2".to_owned(), advertise: ([127, 0, 0, 1], 8_445).into(), process };
    let at = |port, is_draining| running(&[(port, is_draining)]).members;
    registry.run(&id, Some(running(&[])));
    assert!(matches!(lease(&pool).await, Err(Error::NoMember(_))));
    registry.run_elsewhere(&other(1), &id, &at(5, false));
    let far = lease(&pool).await.unwrap();
    assert_eq!((endpoint(&far).as_str(), registry.members_elsewhere(&id)), ("edge-2/127.0.0.1:5", 1));
    assert!(pool.permits(&far.member).is_ok());
    registry.run(&id, Some(running(&[(1, false)])));
    for _ in 0..20 {
        assert_eq!(endpoint(&lease(&pool).await.unwrap()), "127.0.0.1:1");
    }
    let near = lease(&pool).await.unwrap().member.id;
    let again = pool.lease(Some(near), Instant::now() + Duration::from_secs(60)).await.unwrap();
    assert_eq!(endpoint(&again), "edge-2/127.0.0.1:5", "the own one has failed");
    registry.run(&id, Some(running(&[(1, true)])));
    assert_eq!(endpoint(&lease(&pool).await.unwrap()), "edge-2/127.0.0.1:5");
    // Another process of the node has other connections.
    registry.run_elsewhere(&other(2), &id, &at(5, false));
    assert!(far.member.is_gone());
    registry.run_elsewhere(&other(2), &id, &at(5, true));
    assert_eq!(registry.members_elsewhere(&id), 0);
    registry.forget_node("edge-2");
    registry.run(&id, Some(running(&[])));
    assert!(matches!(lease(&pool).await, Err(Error::NoMember(_))) && registry.runs_of_node("edge-2").is_empty());
}

#[tokio::test]
async fn a_tunnel_ends_at_an_instance_of_this_node_that_is_shared_and_gets_requests() {
    let (registry, _pool, id) = run_pool();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let at = Endpoint::Tcp(([127, 0, 0, 1], port).into());
    let run = |is_shared, is_draining| RunNow { is_shared, ..running(&[(port, is_draining)]) };
    for (now, arrives) in [(run(false, false), false), (run(true, true), false), (run(true, false), true)] {
        registry.run(&id, Some(now));
        assert_eq!(registry.arrive(&id, &at).await.is_ok(), arrives);
    }
    let other = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
    assert!(registry.arrive(&id, &other).await.is_err(), "it is none of the run");
    assert_eq!(registry.run_in_flight(&id, Some(&at)), 0);
    let tunnel = registry.arrive(&id, &at).await.unwrap();
    // The drain waits for the tunnel.
    assert_eq!((registry.run_in_flight(&id, Some(&at)), registry.run_in_flight(&id, Some(&other))), (1, 0));
    drop(tunnel);
    registry.tunnels_ended().await;
}
