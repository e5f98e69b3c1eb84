//! The report of a probe about a bucket.

use super::moto::{Moto, is_moto_installed};
use super::*;

pub(super) fn faults(report: &ProbeReport) -> Vec<(&str, &str, &str)> {
    let fault = |check: &'_ ProbeCheck| check.fault.is_some();
    let faults = report.checks.iter().filter(|check| fault(check));
    faults.map(|check| check.fault.as_ref().map(|(why, hint)| (check.name, why.as_str(), *hint)).unwrap()).collect()
}

async fn finds_nothing_and_leaves_nothing(variables: &Variables) {
    let bucket = bucket(variables);
    for _ in 0..2 {
        let report = probe(&bucket).await;
        assert!(report.is_good(), "{:?}", faults(&report));
        assert_eq!(report.checks.len(), 9);
        assert_eq!(objects(&bucket).await, ["format"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_bucket_of_moto_has_no_fault_and_nothing_of_the_probe_stays() {
    if is_moto_installed() {
        let moto = Moto::start();
        finds_nothing_and_leaves_nothing(&moto.variables()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_says_what_a_bucket_lacks_and_what_to_do() {
    if !is_installed() {
        return;
    }
    let seaweed = Seaweed::start();
    finds_nothing_and_leaves_nothing(&seaweed.variables()).await;
    let reader = bucket(&variables(seaweed.address, seaweed::READER));
    let report = probe(&reader).await;
    let [(name, why, hint)] = faults(&report)[..] else { panic!("{report:?}") };
    assert_eq!(name, "know what the prefix is for");
    assert!(why.contains("refuses writing") && hint.contains("s3:PutObject"), "{why}: {hint}");
    // A prefix of backups: the pruning of backups would take the files of the store.
    let backups = bucket(&seaweed.variables());
    backups.write("format", [Bytes::from_static(crate::blobs::FORMAT.as_bytes())]).await.unwrap();
    let report = probe(&backups).await;
    assert!(faults(&report)[0].2.contains("prefix"), "{report:?}");
    assert_eq!(objects(&backups).await, ["format"]);
    let report = probe(&nowhere()).await;
    assert!(faults(&report)[0].2.contains("endpoint"), "{report:?}");
    assert!(!report.is_good());
}
