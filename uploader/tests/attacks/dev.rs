//! Pages of strangers in a browser, against `devanture dev`.
