//! Output of instances.

use devanture_base::telemetry::LinesBefore;
use devanture_config::limits::Limits;
use devanture_host::output::{LineStream, OutputEvent};
use serde_json::json;

use crate::runner::world::{World, eventually, limits, plain_but, run};

#[test]
fn a_reader_hears_every_instance_by_its_name() {
    run(async {
        let world = World::start(limits()).await;
        let (before, mut reader) =
            world.runner.logs().follow(&world.app, "prod", None, LinesBefore::Last(10)).await.unwrap();
        assert!(before.lines.is_empty());
        let version = world.version("1", "one", &plain_but(json!({}))).await;
        world.switch(&version).await;
        let mut heard = Vec::new();
        while heard.len() < 2 {
            let Some(OutputEvent::Line(line)) = reader.next().await else { panic!("a line comes") };
            assert_eq!(line.stream, LineStream::Stdout);
            assert_eq!(line.text, format!("begins {}", line.instance));
            heard.push(line.instance.clone());
        }
        heard.sort();
        assert_eq!(heard, ["web.1", "web.2"]);
        world.end().await;
    });
}

#[test]
fn a_flood_of_lines_is_kept_within_its_bounds_and_disturbs_nobody() {
    run(async {
        let bounds = Limits { instance_log_bytes_max: 65_536, instance_log_files_max: 3, ..limits() };
        let world = World::start(bounds).await;
        // 64 MiB, then the end.
        let flood = "yes 'a line of the flood that is somewhat longer than that' | head -c 67108864; exec sleep 1000";
        let flood = json!({ "flood": { "command": ["sh", "-c", flood] } });
        let version = world.version("1", "one", &plain_but(json!({ "processes": flood }))).await;
        world.switch(&version).await;
        for _ in 0..50 {
            assert_eq!(world.get("/").await.0, 200);
        }
        eventually("the flood was taken", || world.instances().iter().all(|one| one.restarts == 0)).await;
        let sizes = || -> Vec<u64> {
            let folder = world.path("run/logs/shop/prod");
            std::fs::read_dir(folder).unwrap().filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).collect()
        };
        eventually("files were rotated", || sizes().len() == 3).await;
        assert!(sizes().iter().all(|size| *size <= 65_536), "{:?}", sizes());
        world.end().await;
    });
}
