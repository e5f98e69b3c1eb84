//! Backends behind Unix sockets, permitted by the edge's settings alone.

use std::path::Path;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use crate::proxy::support::{Front, Setup, eventually, run};

/// Answers every request on the socket at `path`, and closes the connection.
fn serve(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if tokio::io::AsyncReadExt::read_buf(&mut stream, &mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nsocket";
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
}

async fn front(path: &Path, opened: &[&Path]) -> Front {
    let sockets = opened.iter().map(|folder| folder.to_path_buf()).collect();
    Front::start(&format!("unix:{}", path.display()), Setup { sockets, ..Setup::default() }).await
}

async fn is_refused(front: &Front) -> bool {
    let status = front.get("/").await.0;
    let last = front.outcomes.borrow().last().cloned().unwrap_or_default();
    status == 502 && last.starts_with("Forbidden(")
}

#[test]
fn a_socket_is_reached_where_its_folder_is_opened() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (opened, closed) = (folder.path().join("opened"), folder.path().join("opened-not"));
        std::fs::create_dir_all(opened.join("deep")).unwrap();
        std::fs::create_dir_all(&closed).unwrap();
        for path in [opened.join("app.sock"), opened.join("deep/app sock"), closed.join("app.sock")] {
            serve(&path);
        }
        assert_eq!(front(&opened.join("app.sock"), &[&opened]).await.get("/").await, (200, "socket".to_owned()));
        let deep = Path::new(opened.as_path()).join("deep/app%20sock");
        assert_eq!(front(&deep, &[&opened]).await.get("/").await, (200, "socket".to_owned()));
        // An admin token permits no socket, and a folder name is no prefix of another folder.
        assert!(is_refused(&front(&opened.join("app.sock"), &[]).await).await);
        assert!(is_refused(&front(&closed.join("app.sock"), &[&opened]).await).await);
        assert!(is_refused(&front(&opened.join("../opened-not/app.sock"), &[&opened]).await).await);
        // A missing socket is no refusal, and works once created.
        let late = front(&opened.join("late.sock"), &[&opened]).await;
        assert_eq!(late.get("/").await.0, 502);
        serve(&opened.join("late.sock"));
        assert_eq!(late.get("/").await, (200, "socket".to_owned()));
    });
}

#[test]
fn a_link_that_leads_elsewhere_is_refused_whenever_it_was_made() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (opened, closed) = (folder.path().join("opened"), folder.path().join("closed"));
        std::fs::create_dir_all(&opened).unwrap();
        std::fs::create_dir_all(&closed).unwrap();
        serve(&closed.join("secret.sock"));
        std::os::unix::fs::symlink(closed.join("secret.sock"), opened.join("link.sock")).unwrap();
        std::os::unix::fs::symlink(&closed, opened.join("folder")).unwrap();
        assert!(is_refused(&front(&opened.join("link.sock"), &[&opened]).await).await);
        assert!(is_refused(&front(&opened.join("folder/secret.sock"), &[&opened]).await).await);
        // A socket that is replaced by a link.
        let path = opened.join("app.sock");
        serve(&path);
        let front = front(&path, &[&opened]).await;
        assert_eq!(front.get("/").await, (200, "socket".to_owned()));
        eventually("nothing is kept", || front.client.counts().idle == 0).await;
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(closed.join("secret.sock"), &path).unwrap();
        assert!(is_refused(&front).await);
    });
}
