//! Routes to this machine by a public address of the machine, in a separate network namespace.

use std::env;
use std::process::Command;

use devanture_config::api::Scope;

use crate::attacks::tenant::routes::{answers, site};
use crate::support::backends::is_root;

/// Set while the test runs inside the namespace.
const INSIDE: &str = "DEVANTURE_TEST_OWN_ADDRESSES";
/// Script: assigns an address in a new network; if the first argument asks for it, permits sockets on foreign
/// addresses, as keepalived needs; runs the remaining arguments.
const NETWORK: &str = r#"
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    up = struct.pack("16sh14x", b"lo", 0x1)
    fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS
    for request, address in [(0x8916, "1.2.3.4"), (0x891C, "255.255.255.255")]:  # SIOCSIFADDR, SIOCSIFNETMASK
        fcntl.ioctl(control, request, struct.pack("16shH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address)))
if sys.argv[1] == "any":
    with open("/proc/sys/net/ipv4/ip_nonlocal_bind", "w") as setting:
        setting.write("1")
os.execv(sys.argv[2], sys.argv[2:])
"#;
/// Spellings of the machine's address.
const OWN: [&str; 3] = ["http://1.2.3.4:3000", "http://[::ffff:1.2.3.4]:3000", "http://0x01020304:3000"];

/// Runs a test of this program inside the namespace, by name. Returns true if the machine permits namespaces.
#[allow(clippy::print_stderr, reason = "a person who runs the tests has to see what was left out")]
fn ran_inside(bind: &str, test: &str) -> bool {
    let may = || Command::new("unshare").args(["-n", "true"]).output();
    if !is_root() || !may().is_ok_and(|done| done.status.success()) {
        eprintln!("left out: only root can make a network, and where the machine allows it");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "python3", "-c", NETWORK, bind]).arg(env::current_exe().unwrap());
    let done = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let printed = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && printed.contains("1 passed"), "{printed}");
    true
}

#[tokio::test]
async fn an_address_of_this_machine_takes_an_admin() {
    if env::var_os(INSIDE).is_none() {
        let test = "attacks::tenant::own_addresses::an_address_of_this_machine_takes_an_admin";
        let _both = ran_inside("own", test) && ran_inside("any", test);
        return;
    }
    let edge = site("").await;
    let push = edge.token_for(Scope::Push, Some("shop"), None).await;
    let admin = edge.admin_token().to_owned();
    for to in OWN {
        assert_eq!(answers(&edge, &push, to).await, "upstream_forbidden", "{to} by a token that may push");
    }
    assert_eq!(answers(&edge, &push, "http://1.2.3.5:3000").await, "taken", "another machine");
    // Last, since a route added by an admin is then permitted for every pusher.
    for to in OWN {
        assert_eq!(answers(&edge, &admin, to).await, "taken", "{to} by an admin");
    }
    edge.stop().await;
    let allowing = site("[upstreams]\nallow = [\"1.2.3.0/24\"]").await;
    let push = allowing.token_for(Scope::Push, Some("shop"), None).await;
    assert_eq!(answers(&allowing, &push, OWN[0]).await, "taken", "an operator allowed it");
    allowing.stop().await;
}
