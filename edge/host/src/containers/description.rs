//! Creation parameters of a container: image, command, user, folders, port and limits; never requests of the image.

use std::collections::BTreeMap;
use std::path::PathBuf;

use devanture_config::edge_toml::Network;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::podman::EDGE_LABEL;

/// Period of CPU time in microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// Bytes of shared memory.
const SHARED_MEMORY_BYTES: u64 = 16 * 1024 * 1024;

/// Container to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    /// Unique name.
    pub name: String,
    /// Owning edge.
    pub edge_id: String,
    /// Image id.
    pub image: String,
    /// Program and arguments; empty for the command of the image.
    pub command: Vec<String>,
    /// Environment variables, in addition to the variables of the image.
    pub environment: BTreeMap<String, String>,
    /// User id and group id, regardless of the image; never 0.
    pub uid: u32,
    /// The only visible folders of the machine.
    pub binds: Vec<Bind>,
    /// Port for requests.
    pub port: Option<PublishedPort>,
    /// Network.
    pub network: Network,
    /// Maximum bytes of memory, including swap.
    pub memory_bytes: u64,
    /// Maximum processes and threads.
    pub tasks: u64,
    /// CPU time in percent of one core; 0 for no limit.
    pub cpu_percent: u64,
    /// Maximum open files per process.
    pub open_files: u64,
    /// Maximum bytes of temporary files.
    pub temporary_bytes: u64,
    /// Maximum open pseudo-terminals.
    pub terminals: u32,
    /// Attached client of a one-off command; `None` for an instance.
    #[serde(default)]
    pub attachment: Option<Attachment>,
}

/// Attachment of a client to the input and output of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// True for a terminal as input and output.
    pub terminal: bool,
}

/// Folder of the machine visible to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Path on the machine.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: PathBuf,
}

/// Port of the loopback address, forwarded to the same port in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort(pub u16);

impl Description {
    /// Returns the specification for podman.
    ///
    /// No privilege, capability or device comes from the image or the app: the root file system is read-only, image
    /// volumes are plain folders within, and the user is the user of the environment.
    pub(super) fn specification(&self) -> Value {
        let network = match &self.network {
            Network::Bridge => json!({ "netns": { "nsmode": "bridge" } }),
            Network::Host => json!({ "netns": { "nsmode": "host" } }),
            Network::None => json!({ "netns": { "nsmode": "none" } }),
            Network::Named(name) => json!({ "netns": { "nsmode": "bridge" }, "networks": { name: {} } }),
        };
        let mut value = json!({
            "name": self.name,
            "image": self.image,
            "env": self.environment,
            "labels": { EDGE_LABEL: self.edge_id },
            "user": format!("{0}:{0}", self.uid),
            "groups": [],
            "privileged": false,
            "cap_drop": ["ALL"],
            "no_new_privileges": true,
            "read_only_filesystem": true,
            "image_volume_mode": "ignore",
            "env_host": false,
            "httpproxy": false,
            "systemd": "false",
            "sdnotifyMode": "ignore",
            "healthconfig": { "Test": ["NONE"] },
            "log_configuration": { "driver": "none" },
            "restart_policy": "no",
            "shm_size": SHARED_MEMORY_BYTES,
            "mounts": self.mounts(),
            "r_limits": [limit("nofile", self.open_files), limit("nproc", self.tasks), limit("core", 0)],
            "resource_limits": self.resources(),
        });
        if let (Some(value), Value::Object(network)) = (value.as_object_mut(), network) {
            value.extend(network);
            if let Some(Attachment { terminal }) = self.attachment {
                value.extend([("stdin".to_owned(), json!(true)), ("terminal".to_owned(), json!(terminal))]);
            }
            if let Some(PublishedPort(port)) = self.published_port() {
                let mapping = json!([{
                    "host_ip": "127.0.0.1", "host_port": port, "container_port": port, "protocol": "tcp"
                }]);
                value.insert("portmappings".to_owned(), mapping);
            }
            if let Some((program, arguments)) = self.command.split_first() {
                value.insert("entrypoint".to_owned(), json!([program]));
                value.insert("command".to_owned(), json!(arguments));
            }
        }
        value
    }

    /// Returns the port for podman to publish. On the machine's network, the container has the port anyway.
    #[must_use]
    pub fn published_port(&self) -> Option<PublishedPort> {
        self.port.filter(|_| matches!(self.network, Network::Bridge | Network::Named(_)))
    }

    fn mounts(&self) -> Value {
        let size = format!("size={}", self.temporary_bytes);
        let temporary = json!({
            "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": [size, "mode=1777", "nosuid", "nodev"]
        });
        let bind = |bind: &Bind| {
            json!({
                "destination": bind.destination, "type": "bind", "source": bind.source,
                "options": ["bind", "rw", "nosuid", "nodev", "private"]
            })
        };
        // Replaces podman's mount, which has no limit.
        let max = format!("max={}", self.terminals);
        let terminals = json!({
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", max]
        });
        [temporary, terminals].into_iter().chain(self.binds.iter().map(bind)).collect()
    }

    fn resources(&self) -> Value {
        let mut resources = json!({
            "memory": { "limit": self.memory_bytes, "swap": self.memory_bytes },
            "pids": { "limit": self.tasks },
        });
        if let Some(resources) = resources.as_object_mut().filter(|_| self.cpu_percent > 0) {
            let quota = self.cpu_percent.saturating_mul(CPU_PERIOD_US / 100);
            resources.insert("cpu".to_owned(), json!({ "quota": quota, "period": CPU_PERIOD_US }));
        }
        resources
    }
}

fn limit(name: &str, value: u64) -> Value {
    json!({ "type": name, "soft": value, "hard": value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            name: "devanture-a".to_owned(),
            edge_id: "abc".to_owned(),
            image: "0123".to_owned(),
            command: Vec::new(),
            environment: BTreeMap::new(),
            uid: 200_001,
            binds: vec![Bind { source: "/srv/data".into(), destination: "/data".into() }],
            port: Some(PublishedPort(4_000)),
            network: Network::Bridge,
            memory_bytes: 1 << 26,
            tasks: 64,
            cpu_percent: 50,
            open_files: 256,
            temporary_bytes: 1 << 20,
            terminals: 32,
            attachment: None,
        }
    }

    #[test]
    fn a_container_has_no_privilege_and_sees_the_folder_that_stays_alone() {
        let value = description().specification();
        assert_eq!((&value["privileged"], &value["no_new_privileges"]), (&json!(false), &json!(true)));
        assert_eq!((&value["cap_drop"], value.get("cap_add")), (&json!(["ALL"]), None));
        assert_eq!((&value["read_only_filesystem"], &value["user"]), (&json!(true), &json!("200001:200001")));
        assert_eq!((&value["image_volume_mode"], value.get("devices")), (&json!("ignore"), None));
        let sources: Vec<_> = value["mounts"].as_array().unwrap().iter().map(|mount| mount["source"].clone()).collect();
        assert_eq!(sources, ["tmpfs", "devpts", "/srv/data"]);
        assert!(value["mounts"][1]["options"].as_array().unwrap().contains(&json!("max=32")), "terminals are few");
        assert_eq!(value["portmappings"][0]["host_ip"], "127.0.0.1");
        assert_eq!(value["resource_limits"]["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
        assert_eq!((value.get("entrypoint"), value.get("command")), (None, None), "those of the image");
    }

    #[test]
    fn a_command_replaces_both_that_the_image_has_and_is_no_option() {
        let command = vec!["--privileged".to_owned(), "-v".to_owned()];
        let value = Description { command, network: Network::Host, ..description() }.specification();
        assert_eq!((&value["entrypoint"], &value["command"]), (&json!(["--privileged"]), &json!(["-v"])));
        assert_eq!((value.get("portmappings"), &value["netns"]["nsmode"]), (None, &json!("host")));
        let named = Description { network: Network::Named("apps".to_owned()), ..description() }.specification();
        assert!(named["networks"]["apps"].is_object());
    }
}
