// Every page prerendered as NAME.html, and a page for what is missing.
import adapter from "@sveltejs/adapter-static";

export default {
  kit: {
    adapter: adapter({ fallback: "404.html" }),
    // The same in every build of the same source.
    version: { name: "release-a" },
  },
};
