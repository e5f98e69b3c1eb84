//! Stores that differ from S3 in one respect, and on which a cluster would lose files: a probe finds each difference.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::probes::faults;
use super::*;

/// The difference of a store from S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// No difference.
    None,
    /// The clock is an hour late.
    Clock,
    /// Removed objects stay.
    Deletion,
    /// A new object is not listed yet, …
    LateListing,
    /// … or with the length of its predecessor.
    OldListing,
    /// An object written in parts is missing.
    Parts,
    /// A read of a part returns a different part.
    Ranges,
    /// The first byte of a read is changed.
    Reading,
    /// The first write of an object stays.
    Replacement,
}

/// A store in memory, for the time of the tests, without a check of signatures.
struct Store {
    fault: Fault,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

struct Request {
    method: String,
    path: String,
    query: String,
    range: Option<Range<usize>>,
    body: Vec<u8>,
}

impl Request {
    fn read(from: &mut impl std::io::BufRead) -> Option<Self> {
        let mut lines = from.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let first = lines.next()?;
        let (method, rest) = first.split_once(' ')?;
        let (target, _) = rest.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
            .collect();
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        from.read_exact(&mut body).ok()?;
        let range = headers.get("range").map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
        });
        let path = path.strip_prefix(&format!("/{BUCKET}"))?.trim_start_matches('/').to_owned();
        Some(Self { method: method.to_owned(), path, query: query.replace("%2F", "/"), range, body })
    }
}

impl Store {
    fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let store = Arc::new(Self { fault, objects: Mutex::default() });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = Arc::clone(&store);
                std::thread::spawn(move || store.serve(stream));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(request) = Request::read(&mut reader) {
            let (head, body) = self.answer(&request);
            let written = if self.fault == Fault::Clock {
                SystemTime::now() - Duration::from_secs(3_600)
            } else {
                SystemTime::now()
            };
            let headers = format!(
                "{head}content-length: {}\r\netag: \"x\"\r\nlast-modified: {}\r\n\r\n",
                body.len(),
                httpdate::fmt_http_date(written)
            );
            let body: &[u8] = if request.method == "HEAD" { &[] } else { &body[..] };
            if stream.write_all(&[headers.as_bytes(), body].concat()).is_err() {
                return;
            }
        }
    }

    /// Returns the head of an answer, without the common fields, and the body.
    fn answer(&self, request: &Request) -> (String, Vec<u8>) {
        let Request { method, path, query, range, body } = request;
        let ok = |body: String| ("HTTP/1.1 200 OK\r\n".to_owned(), body.into_bytes());
        match method.as_str() {
            "PUT" => {
                // A part waits beside the objects.
                let name = if query.is_empty() { path.clone() } else { format!("parts/{path}") };
                let mut objects = self.objects.lock();
                if self.fault != Fault::Replacement || !objects.contains_key(&name) {
                    objects.insert(name, body.clone());
                }
                ok(String::new())
            }
            "POST" if query.starts_with("delete") => ok(self.delete(&String::from_utf8_lossy(body))),
            "POST" if query.starts_with("uploads") => {
                ok("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>".to_owned())
            }
            "POST" => {
                let mut objects = self.objects.lock();
                let parts = objects.remove(&format!("parts/{path}")).unwrap();
                if self.fault != Fault::Parts {
                    objects.insert(path.clone(), parts);
                }
                ok("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>".to_owned())
            }
            "GET" if path.is_empty() => ok(self.listing(query)),
            _ => self.read(path, range.clone()),
        }
    }

    fn delete(&self, body: &str) -> String {
        let keys = body.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
        let deleted: String = keys.clone().map(|key| format!("<Deleted><Key>{key}</Key></Deleted>")).collect();
        if self.fault != Fault::Deletion {
            keys.for_each(|key| drop(self.objects.lock().remove(key)));
        }
        format!("<DeleteResult>{deleted}</DeleteResult>")
    }

    fn listing(&self, query: &str) -> String {
        let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
        let objects = self.objects.lock();
        let found = objects.iter().filter(|(path, _)| path.starts_with(prefix) && self.fault != Fault::LateListing);
        let entries: String = found
            .map(|(path, bytes)| {
                let size = if self.fault == Fault::OldListing { 1 } else { bytes.len() };
                let time = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>";
                format!("<Contents><Key>{path}</Key><Size>{size}</Size>{time}<ETag>x</ETag></Contents>")
            })
            .collect();
        format!("<ListBucketResult>{entries}</ListBucketResult>")
    }

    fn read(&self, path: &str, range: Option<Range<usize>>) -> (String, Vec<u8>) {
        let Some(mut bytes) = self.objects.lock().get(path).cloned() else {
            let error = "<Error><Code>NoSuchKey</Code></Error>";
            return ("HTTP/1.1 404 Not Found\r\n".to_owned(), error.into());
        };
        let Some(range) = range else {
            // The text about the purpose of the prefix is read unchanged.
            if self.fault == Fault::Reading && path.contains("probe/") {
                bytes[0] ^= 1;
            }
            return ("HTTP/1.1 200 OK\r\n".to_owned(), bytes);
        };
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {}-{}/{}\r\n",
            range.start,
            range.end - 1,
            bytes.len()
        );
        let begin = if self.fault == Fault::Ranges { 0 } else { range.start };
        (head, bytes[begin..begin + range.len()].to_vec())
    }
}

#[tokio::test]
async fn a_probe_finds_each_difference_of_a_store_from_s3() {
    let cases: [(Fault, &[&str]); 9] = [
        (Fault::None, &[]),
        (Fault::Clock, &["have the time of day"]),
        (Fault::Deletion, &["delete it"]),
        (Fault::LateListing, &["list what was just written"]),
        (Fault::OldListing, &["list what was just written"]),
        (Fault::Parts, &["write an object in parts"]),
        (Fault::Ranges, &["read a part of it"]),
        // Each of them reads back its own write.
        (Fault::Reading, &["read it", "replace it", "write an object in parts"]),
        (Fault::Replacement, &["replace it"]),
    ];
    for (fault, expected) in cases {
        let bucket = bucket(&variables(Store::start(fault), seaweed::OWNER));
        let report = probe(&bucket).await;
        let found: Vec<&str> = faults(&report).iter().map(|(name, ..)| *name).collect();
        assert_eq!(found, expected, "{fault:?}: {report:?}");
        assert_eq!((report.checks.len(), report.is_good()), (9, expected.is_empty()));
        // A second probe finds the same: the first left no object that could be taken for its successor's.
        let again = probe(&bucket).await;
        assert_eq!(faults(&again).len(), expected.len(), "{fault:?}: {again:?}");
    }
}
