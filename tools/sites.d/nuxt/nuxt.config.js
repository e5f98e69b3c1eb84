// Every page prerendered as NAME/index.html, with its payload beside it.
export default defineNuxtConfig({
  compatibilityDate: "2026-01-01",
  css: ["~/common/site.css"],
  buildId: "release-a",
  app: { head: { title: "Plants", link: [{ rel: "icon", type: "image/svg+xml", href: "/leaf.svg" }] } },
  telemetry: false,
});
