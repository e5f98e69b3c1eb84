//! Cookies that try to reach the hostnames of other apps.
