// Pages as folders, an island with a script of its own, and navigation by Astro's client router.
import { defineConfig, passthroughImageService } from "astro/config";

export default defineConfig({
  build: { inlineStylesheets: "never" },
  image: { service: passthroughImageService() },
  prefetch: { prefetchAll: true },
  vite: { build: { assetsInlineLimit: 0 } },
});
