// The generator's own theme, with a search index and links without `.html`.
import { defineConfig } from "vitepress";

export default defineConfig({
  title: "Plants",
  cleanUrls: true,
  head: [["link", { rel: "icon", type: "image/svg+xml", href: "/leaf.svg" }]],
  themeConfig: {
    search: { provider: "local" },
    nav: [
      { text: "Home", link: "/" },
      { text: "Plants", link: "/plants/" },
      { text: "About", link: "/about" },
    ],
    sidebar: [{ text: "Plants", items: [{ text: "Fern", link: "/plants/fern" }, { text: "Palm", link: "/plants/palm" }] }],
  },
});
