//! Container images of backends, and the engine that gets and runs them: podman, through the socket of its service.
//!
//! [`Podman`] is the client (`podman`), also of its store of images (`store`, `load`). [`Images`] decides which images
//! are got, what they are named and when they are removed (`images`), with the credentials that an operator wrote into
//! a file (`credentials`). A container runs for as long as a process that stands for it, `devanture-edge run-container`
//! (`stand_in`), which creates it from a [`Description`] (`description`), passes its output and its end on, and
//! forwards SIGTERM; that of a command which somebody watches passes input, a terminal and other signals too
//! (`attached`). What becomes of an instance that is a container is so what becomes of any instance: the spawner
//! starts, watches, hands over and ends that process. A container whose process was killed is removed by the runner,
//! which launched it, or at the next start of the edge, by its label.

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
