//! Instance operations of a node for other nodes of its cluster.

use async_trait::async_trait;
use devanture_config::api::InstanceStatus;
use devanture_config::problem::Problem;

use super::node_service::{NodeService, catch_up};
use crate::cluster::{InstanceService, InstancesAction, InstancesRequest};
use crate::ledger::Error;
use devanture_serve::proxy::Registry;

impl NodeService {
    async fn change_instances(&self, request: &InstancesRequest) -> Result<Vec<InstanceStatus>, Error> {
        let environments = &self.switcher.environments;
        let place = (&request.app, &request.environment);
        match &request.action {
            InstancesAction::List => {}
            InstancesAction::Rescale => {
                catch_up(&*self.switcher.ledger.catalog, request.revision).await?;
                environments.instances.rescale_here(place).await?;
            }
            InstancesAction::Restart(process) => environments.instances.restart_here(place, process.as_ref()).await?,
        }
        environments.instances.instances_here(place)
    }
}

#[async_trait]
impl InstanceService for NodeService {
    fn registry(&self) -> &Registry {
        self.switcher.environments.upstreams.registry()
    }

    async fn instances(&self, request: &InstancesRequest) -> Result<Vec<InstanceStatus>, Problem> {
        self.change_instances(request).await.map_err(|error| *error.0)
    }
}
