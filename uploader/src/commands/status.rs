//! `status`: what is live in an environment.

use crate::context::Context;
use crate::output::exit::Failure;
use crate::output::report;

/// `status`.
///
/// # Errors
/// As the edge says.
pub(crate) async fn status(context: &Context) -> Result<(), Failure> {
    let status = context.edge()?.status(&context.place()?).await?;
    context.output.write(&status, || report::status_lines(context.output.style, &status));
    Ok(())
}
