//! Test code shared by HTTP/2 and HTTP/3.

pub(super) mod site;
