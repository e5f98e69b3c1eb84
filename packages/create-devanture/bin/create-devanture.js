#!/usr/bin/env node
// `npm create devanture`: writes devanture.toml as `devanture init` does, with the same arguments.
"use strict";

require("devanture/run").run(["init", ...process.argv.slice(2)]);
