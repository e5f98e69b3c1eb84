//! Container images of backends, and podman, which fetches and runs images, through the socket of podman's service.
//!
//! [`Podman`] is the client (`podman`), also of the image store (`store`, `load`). [`Images`] decides about fetching,
//! naming and removing images (`images`), with the credentials from an operator's file (`credentials`). A container
//! runs as long as its stand-in process, `devanture-edge run-container` (`stand_in`), which creates the container from
//! a [`Description`] (`description`), passes on output and end, and forwards SIGTERM. The stand-in of an attached
//! command also passes on input, a terminal and further signals (`attached`). So an instance in a container is treated
//! like any instance: the spawner starts, watches, hands over and ends the stand-in. A container with a killed stand-in
//! is removed by the launching runner, or by its label at the next start of the edge.

mod archive;
mod arriving;
mod attached;
mod credentials;
mod description;
mod elsewhere;
mod error;
mod frames;
mod images;
mod layer;
mod load;
mod named;
mod podman;
mod room;
mod stand_in;
mod store;

pub use archive::{BadArchive, checked_copy};
pub use credentials::check_file as check_credentials;
pub use description::{Attachment, Bind, Description, PublishedPort};
pub use error::Error;
pub use frames::Frames;
pub use images::{Images, ImagesSettings, Unneeded};
pub use podman::{Podman, check_socket};
pub use stand_in::{command, run_container, variables};
