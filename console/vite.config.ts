// How the console is built: into dist/, as a bundle that the edge serves below /console/ and nowhere else.
import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  build: {
    target: "es2022",
    // The policy of the page allows scripts of this origin alone, and none in the page itself.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    cssCodeSplit: true,
    reportCompressedSize: false,
  },
});
