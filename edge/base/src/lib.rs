//! Foundation of the edge: the clock ([`clock`]), fair shares of scarce resources ([`fair`]), the log, the access log
//! and metrics ([`telemetry`]), and the only way to change files ([`durable`]).

pub mod clock;

pub mod fair;

pub mod telemetry;

pub mod durable;
