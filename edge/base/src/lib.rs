//! The ground of the edge: the clock ([`clock`]), fair shares of what is scarce ([`fair`]), the log, the access log and
//! metrics ([`telemetry`]), and the one way to change files ([`durable`]).

pub mod clock;

pub mod fair;

pub mod telemetry;

pub mod durable;
