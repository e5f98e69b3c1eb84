//! A link checker: follows every link of a site over HTTP/2, as a visitor's browser would.
//!
//! Requests made only by scripts are invisible here; the browser's tests cover such requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use html5gum::{DefaultEmitter, Token, Tokenizer};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, LOCATION};
use url::Url;

use super::edge::Edge;

/// Limit on links; no site of the tests has more.
const LINKS_MAX: usize = 2_000;

/// The expected kind of resource of a link.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Wanted {
    Page,
    Script,
    Style,
    Image,
    Other,
}

/// The result of a crawl.
#[derive(Debug, Default)]
pub(crate) struct Crawled {
    /// The paths of all pages, in the order of their discovery; a redirected link counts with its target.
    pub(crate) pages: Vec<String>,
    /// The number of distinct requested links, pages included.
    pub(crate) links: usize,
    /// Links to foreign hosts, never followed.
    pub(crate) foreign: BTreeSet<String>,
    /// Problems, a line each: the link, its page, and the answer.
    pub(crate) problems: Vec<String>,
}

struct Crawler {
    client: reqwest::Client,
    root: Url,
    queue: VecDeque<(Url, Wanted)>,
    /// Each found link, with the first page that contains the link.
    known: BTreeMap<(Url, Wanted), String>,
    crawled: Crawled,
}

/// Follows all links of a hostname from `/` on.
pub(crate) async fn crawl(edge: &Edge, host: &str) -> Crawled {
    let root = Url::parse(&edge.url(host, "/")).unwrap();
    let (queue, known, crawled) = (VecDeque::new(), BTreeMap::new(), Crawled::default());
    let mut crawler = Crawler { client: edge.client(true), root: root.clone(), queue, known, crawled };
    crawler.note(&root, "/", Wanted::Page);
    while let Some((url, wanted)) = crawler.queue.pop_front() {
        crawler.follow(&url, wanted).await;
    }
    crawler.crawled.links = crawler.known.len();
    crawler.crawled
}

impl Crawler {
    /// Queues an unseen link found in `base`.
    fn note(&mut self, base: &Url, link: &str, wanted: Wanted) {
        let Ok(mut url) = base.join(link.trim()) else {
            self.crawled.problems.push(format!("{link} in {base} is no link"));
            return;
        };
        url.set_fragment(None);
        if url.origin() != self.root.origin() {
            if url.scheme() != "data" {
                self.crawled.foreign.insert(url.into());
            }
        } else if !self.known.contains_key(&(url.clone(), wanted)) {
            assert!(self.known.len() < LINKS_MAX, "too many links: {:?}", self.known.keys());
            self.known.insert((url.clone(), wanted), base.path().to_owned());
            self.queue.push_back((url, wanted));
        }
    }

    fn fault(&mut self, url: &Url, wanted: Wanted, what: &str) {
        let from = self.known.get(&(url.clone(), wanted)).map_or("", String::as_str);
        self.crawled.problems.push(format!("{url} ({wanted:?}, in {from}): {what}"));
    }

    /// Requests a link, and queues all links of the answer.
    async fn follow(&mut self, url: &Url, wanted: Wanted) {
        let (mut at, mut answer) = (url.clone(), self.ask(url, wanted).await);
        if answer.status().is_redirection() {
            let location =
                answer.headers().get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
            at = at.join(location).unwrap();
            answer = self.ask(&at, wanted).await;
        }
        if answer.version() != reqwest::Version::HTTP_2 {
            self.fault(url, wanted, &format!("{:?}", answer.version()));
        }
        if answer.status() != 200 {
            self.fault(url, wanted, &format!("{} at {at}", answer.status()));
            return;
        }
        let head = answer.headers().clone();
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        let media_type = field(&head, CONTENT_TYPE.as_str());
        if !is_right_type(media_type, wanted, at.path()) {
            self.fault(url, wanted, &format!("is {media_type}"));
        }
        if media_type.starts_with("text/html") {
            if field(&head, CACHE_CONTROL.as_str()).contains("immutable") {
                self.fault(url, wanted, "is a page that is kept for ever");
            }
            let path = at.path().to_owned();
            if wanted == Wanted::Page && !self.crawled.pages.contains(&path) {
                self.crawled.pages.push(path);
            }
            self.read_page(&at, &text);
        } else if media_type.starts_with("text/css") {
            self.read_style(&at, &text);
        }
    }

    async fn ask(&self, url: &Url, wanted: Wanted) -> reqwest::Response {
        let (accept, mode, destination) = match wanted {
            Wanted::Page => ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "navigate", "document"),
            Wanted::Script => ("*/*", "cors", "script"),
            Wanted::Style => ("text/css,*/*;q=0.1", "no-cors", "style"),
            Wanted::Image => ("image/avif,image/webp,image/*,*/*;q=0.8", "no-cors", "image"),
            Wanted::Other => ("*/*", "no-cors", "empty"),
        };
        let request = self.client.get(url.clone()).header(ACCEPT, accept);
        request.header("Sec-Fetch-Mode", mode).header("Sec-Fetch-Dest", destination).send().await.unwrap()
    }

    fn read_page(&mut self, page: &Url, text: &str) {
        let mut emitter = DefaultEmitter::default();
        // The content of a script is no markup.
        emitter.naively_switch_states(true);
        let mut base = page.clone();
        let mut is_style = false;
        for token in Tokenizer::new_with_emitter(text, emitter).map(Result::unwrap) {
            match token {
                Token::StartTag(tag) => {
                    is_style = tag.name.as_slice() == b"style";
                    let name = String::from_utf8_lossy(&tag.name).into_owned();
                    let attributes: BTreeMap<String, String> =
                        tag.attributes.iter().map(|(name, value)| (lossy(name), lossy(value))).collect();
                    self.read_tag(&mut base, &name, &attributes);
                }
                Token::String(text) if is_style => self.read_style(&base.clone(), &lossy(&text)),
                Token::EndTag(_) => is_style = false,
                _ => {}
            }
        }
    }

    fn read_tag(&mut self, base: &mut Url, name: &str, attributes: &BTreeMap<String, String>) {
        let value = |attribute: &str| attributes.get(attribute).map_or("", String::as_str);
        let relation = value("rel");
        for (attribute, link) in attributes {
            let wanted = match (name, attribute.as_str()) {
                ("base", "href") => {
                    *base = base.join(link).unwrap();
                    continue;
                }
                ("a" | "area" | "iframe", "href" | "src") => Wanted::Page,
                ("script", "src") => Wanted::Script,
                ("link", "href") => match (relation, value("as")) {
                    ("preconnect" | "dns-prefetch" | "canonical", _) => continue,
                    ("stylesheet", _) | (_, "style") => Wanted::Style,
                    ("modulepreload", _) | (_, "script") => Wanted::Script,
                    (relation, _) if relation.contains("icon") => Wanted::Image,
                    _ => Wanted::Other,
                },
                ("img" | "input", "src") | ("video", "poster") => Wanted::Image,
                (_, "srcset" | "imagesrcset") => {
                    for candidate in link.split(',') {
                        let picture = candidate.split_whitespace().next().unwrap_or_default();
                        self.note(base, picture, Wanted::Image);
                    }
                    continue;
                }
                (_, "style") => {
                    self.read_style(base, link);
                    continue;
                }
                (_, "src") | ("object", "data") => Wanted::Other,
                _ => continue,
            };
            self.note(base, link, wanted);
        }
    }

    /// Queues the addresses in `url(…)` and `@import`.
    fn read_style(&mut self, base: &Url, text: &str) {
        for (start, end) in [("url(", ")"), ("@import \"", "\""), ("@import '", "'")] {
            for after in text.split(start).skip(1) {
                let link = after.split(end).next().unwrap_or_default().trim().trim_matches(['"', '\'']);
                // A part of a picture in the page itself.
                if !link.starts_with('#') {
                    self.note(base, link, if link.ends_with(".css") { Wanted::Style } else { Wanted::Other });
                }
            }
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn field<'h>(head: &'h HeaderMap, name: &str) -> &'h str {
    head.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns true if an answer matches the expected kind of its link, and its file name.
fn is_right_type(media_type: &str, wanted: Wanted, path: &str) -> bool {
    let suits = match wanted {
        Wanted::Page => media_type.starts_with("text/html"),
        Wanted::Script => media_type.starts_with("text/javascript"),
        Wanted::Style => media_type.starts_with("text/css"),
        Wanted::Image => media_type.starts_with("image/"),
        Wanted::Other => !media_type.starts_with("text/html"),
    };
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    let named = match ending {
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "txt" => "text/plain",
        "woff2" => "font/woff2",
        _ => "",
    };
    suits && media_type.starts_with(named)
}
