//! Instances that reach for other environments, or try to outlive their end.
