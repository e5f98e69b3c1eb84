// Builds the site in the variant that SITE_VARIANT names: the two differ in colours, a picture and words, so that
// nearly every built file has another name, as in two releases of a real site.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const variant = process.env.SITE_VARIANT;
if (variant !== "a" && variant !== "b") throw new Error("SITE_VARIANT must be a or b");

export default defineConfig({
  resolve: { alias: { "@variant": fileURLToPath(new URL(`./src/variant-${variant}`, import.meta.url)) } },
  // No picture is written into the script: each is a request of its own, that a switch could break.
  build: { assetsInlineLimit: 0, target: "esnext", reportCompressedSize: false },
});
