//! Apps, aliases and environments that try to use up the memory of the edge.
