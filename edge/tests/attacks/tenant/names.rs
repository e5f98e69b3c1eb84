//! Names of apps that belong to the operator.
