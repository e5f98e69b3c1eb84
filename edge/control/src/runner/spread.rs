//! Distribution of a process' instances over the nodes of a cluster: a pure function computed by every node.

use devanture_config::site_toml::{Instances, ProcessName};
use devanture_config::{AppName, Digest};

/// Process of an environment with distributed instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread<'s> {
    pub(super) app: &'s AppName,
    pub(super) place: &'s str,
    pub(super) process: &'s ProcessName,
}

impl Spread<'_> {
    /// Returns the number of instances on the node `own`, of `instances` over distinct `nodes`, which include `own`.
    ///
    /// Each process orders the nodes by a hash of process and node (rendezvous hashing), and deals out instances in
    /// that order. Nodes therefore differ by at most one instance, extra instances fall on varying nodes, and the
    /// remaining nodes start only the instances of a leaving node.
    pub(super) fn share(&self, instances: Instances, nodes: &[String], own: &str) -> u64 {
        let Instances::Count(count) = instances else { return 1 };
        let weight = |node: &str| (self.weight(node), node.to_owned());
        let own = weight(own);
        let before = nodes.iter().filter(|node| weight(node) < own).count();
        let before = u64::try_from(before).unwrap_or(u64::MAX);
        let all = u64::try_from(nodes.len().max(1)).unwrap_or(u64::MAX);
        count.saturating_sub(before).div_ceil(all)
    }

    fn weight(&self, node: &str) -> Digest {
        let Self { app, place, process } = self;
        // The parts contain no slash.
        Digest::of(format!("{app}/{place}/{process}/{node}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use devanture_config::site_toml::All;
    use proptest::prelude::*;

    use super::*;

    fn shares(process: &str, instances: Instances, nodes: &[String]) -> BTreeMap<String, u64> {
        let (app, process) = ("shop".parse().unwrap(), process.parse().unwrap());
        let spread = Spread { app: &app, place: "prod", process: &process };
        nodes.iter().map(|node| (node.clone(), spread.share(instances, nodes, node))).collect()
    }

    fn numbered(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("edge-{number}")).collect()
    }

    proptest! {
        #[test]
        fn shares_are_even_and_are_all_instances_together(
            count in 0_u64..200, nodes in 1_usize..12, process in "[a-z]{1,8}",
        ) {
            let shares = shares(&process, Instances::Count(count), &numbered(nodes));
            prop_assert_eq!(shares.values().sum::<u64>(), count);
            let (least, most) = (shares.values().min().unwrap(), shares.values().max().unwrap());
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn what_a_node_leaves_is_all_that_others_start(
            count in 0_u64..200, nodes in 2_usize..12, left: prop::sample::Index, process in "[a-z]{1,8}",
        ) {
            let mut names = numbered(nodes);
            let before = shares(&process, Instances::Count(count), &names);
            let left = names.remove(left.index(nodes));
            let after = shares(&process, Instances::Count(count), &names);
            // No instance ends, so exactly the lost instances are started.
            prop_assert!(after.iter().all(|(node, share)| *share >= before[node]));
            let started: u64 = after.iter().map(|(node, share)| share - before[node]).sum();
            prop_assert_eq!(started, before[&left]);
        }

        #[test]
        fn the_order_in_which_nodes_are_listed_decides_nothing(count in 0_u64..20, nodes in 1_usize..8) {
            let (names, mut reversed) = (numbered(nodes), numbered(nodes));
            reversed.reverse();
            let instances = Instances::Count(count);
            prop_assert_eq!(shares("web", instances, &names), shares("web", instances, &reversed));
        }
    }

    #[test]
    fn all_is_one_on_each_node() {
        let shares = shares("web", Instances::All(All::All), &numbered(4));
        assert!(shares.values().all(|share| *share == 1));
    }

    #[test]
    fn processes_begin_with_different_nodes() {
        let first = |number: usize| {
            let shares = shares(&format!("p{number}"), Instances::Count(1), &numbered(3));
            shares.into_iter().find(|(_, share)| *share == 1).unwrap().0
        };
        let firsts: std::collections::BTreeSet<String> = (0..50).map(first).collect();
        assert_eq!(firsts.len(), 3);
    }
}
