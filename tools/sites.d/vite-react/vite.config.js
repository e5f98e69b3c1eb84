// A single page application: every path is index.html, and its routes are loaded when they are visited.
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // No picture is written into the scripts: each is a request of its own.
  build: { assetsInlineLimit: 0, reportCompressedSize: false },
});
