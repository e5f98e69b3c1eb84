//! Instances that use more memory, disk or processes than their limits allow.
