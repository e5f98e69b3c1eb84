//! Request bodies, with windows that open as the bodies are read, regardless of other waits of the connection.

use super::*;

/// Reads all available bytes of a request body kept by the site.
fn read(rig: &Rig, number: usize) -> usize {
    let mut kept = rig.log.kept.borrow_mut();
    let mut count = 0;
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = http_body::Body::poll_frame(Pin::new(&mut kept[number]), &mut cx) {
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    count
}

/// Returns a body for `/keep`.
fn upload(stream: u32, bytes: usize) -> Vec<u8> {
    let frames = (0..bytes / 10_000).flat_map(|_| data(stream, false, vec![0; 10_000]));
    post(stream, "/keep", &[]).into_iter().chain(frames).collect()
}

#[test]
fn a_body_that_nobody_reads_is_as_long_as_its_content_length_all_the_same() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 0)]), post(1, "/nowhere", &[("content-length", "4")])].concat());
    rig.send([data(1, false, "fo"), data(1, true, "ur"), window(1, 100)].concat());
    assert_eq!((rig.came(1).reset, rig.came(1).status, rig.came(1).ends), (None, Some(404), 1));
    rig.send([post(3, "/nowhere", &[("content-length", "4")]), data(3, false, "four")].concat());
    rig.send([headers(3, true, &[("x", "y")]), window(3, 100)].concat());
    assert_eq!((rig.came(3).reset, rig.came(3).ends), (None, 1));
    rig.send([post(5, "/nowhere", &[("content-length", "4")])].concat());
    rig.send(data(5, true, "few"));
    assert_eq!(rig.came(5).reset, Some(1));
}

#[test]
fn an_upload_is_let_in_while_its_answer_waits_for_the_window_of_the_connection() {
    let mut rig = Rig::new();
    rig.send([settings(&[(4, 1 << 20)]), upload(1, 100_000)].concat());
    assert_eq!((rig.came(1).body.len(), rig.increments(1)), (65_535, 0));
    assert!(rig.conn.only_awaits_peer());
    assert_eq!(read(&rig, 0), 100_000);
    assert!(rig.task.0.load(Ordering::Relaxed) > 0);
    rig.settle();
    assert_eq!((rig.increments(1), rig.increments(0)), (100_000, 100_000));
}

#[test]
fn bodies_that_came_whole_give_the_window_of_the_connection_back_as_they_are_read() {
    for reads in [true, false] {
        let mut rig = Rig::new();
        rig.send(settings(&[(4, 0)]));
        rig.send([upload(1, 100_000), data(1, true, "")].concat());
        rig.send([upload(3, 100_000), data(3, true, ""), post(5, "/count", &[])].concat());
        assert_eq!(rig.increments(0), 0);
        rig.task.0.store(0, Ordering::Relaxed);
        if reads {
            assert_eq!(read(&rig, 0) + read(&rig, 1), 200_000);
        } else {
            rig.log.kept.borrow_mut().clear();
        }
        assert!(rig.task.0.load(Ordering::Relaxed) > 0);
        rig.settle();
        assert_eq!(rig.increments(0), 200_000);
    }
}

#[test]
fn nobody_is_too_slow_who_has_no_window() {
    let mut rig = Rig::with(&Limits { write: Duration::from_secs(1_000), ..limits() });
    rig.send(settings(&[(4, 0)]));
    rig.send([upload(1, 100_000), upload(3, 100_000), post(5, "/echo", &[])].concat());
    rig.pass(Duration::from_secs(25));
    assert_eq!(rig.came(5).status, None);
    rig.pass(Duration::from_secs(14));
    assert_eq!(read(&rig, 0), 100_000);
    rig.settle();
    assert_eq!(rig.increments(0), 100_000);
    rig.pass(Duration::from_secs(19));
    assert_eq!(rig.came(5).status, None);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.came(5).status, Some(408));
}

#[test]
fn requests_are_answered_and_uploads_read_while_nothing_can_be_put() {
    let mut rig = Rig::new();
    rig.send(settings(&[(4, 1 << 20)]));
    rig.receive(&[get(1, "/wait"), get(3, "/piece"), upload(5, 100_000), get(7, "/status/101")].concat());
    rig.tend();
    assert_eq!((rig.log.wakers.borrow().len(), rig.log.kept.borrow().len(), rig.log.polled.get()), (1, 1, 0));
    rig.tend();
    assert_eq!(rig.log.wakers.borrow().len(), 1, "what waits is not polled for nothing");
    assert_eq!(read(&rig, 0), 100_000);
    rig.log.gate.set(true);
    rig.log.wakers.borrow_mut().remove(0).wake();
    assert!(rig.task.0.load(Ordering::Relaxed) > 0);
    rig.tend();
    assert_eq!((rig.log.waiting.get(), rig.bin.bytes.len(), rig.streams.contains_key(&1)), (0, 0, false));
    rig.produce(40);
    assert_eq!((rig.increments(5), rig.increments(0)), (100_000, 100_000));
    rig.settle();
    assert_eq!((rig.came(1).body, rig.came(7).reset), (b"waited".to_vec(), Some(2)));
    assert!(rig.came(3).body.len() + rig.came(5).body.len() > 65_500);
}

#[test]
fn a_body_that_is_too_slow_is_so_while_nothing_can_be_put() {
    let mut rig = Rig::new();
    rig.receive(&post(1, "/echo", &[]));
    rig.tend();
    assert_eq!(rig.conn.deadline(), Some(rig.now + Duration::from_secs(20)));
    rig.now += Duration::from_secs(20);
    rig.tend();
    assert_eq!((rig.log.waiting.get(), rig.conn.deadline()), (0, None));
    rig.settle();
    assert_eq!(rig.came(1).status, Some(408));
}
