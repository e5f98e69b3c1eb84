#!/usr/bin/env node
"use strict";

require("../run.js").run(process.argv.slice(2));
