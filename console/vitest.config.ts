// The unit tests: the logic of the console, without a browser.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["test/*.test.ts"], environment: "node", testTimeout: 30_000 },
});
