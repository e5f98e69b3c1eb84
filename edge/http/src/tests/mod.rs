//! What the tests of HTTP/2 and HTTP/3 have in common.

pub(super) mod site;
