// Documentation at the root, written as NAME/index.html with links that end in a slash.
module.exports = {
  title: "Plants",
  url: "https://plants.example",
  baseUrl: "/",
  trailingSlash: true,
  onBrokenLinks: "throw",
  presets: [["classic", { docs: { routeBasePath: "/" }, blog: false, theme: { customCss: "./common/site.css" } }]],
  themeConfig: {
    navbar: {
      title: "Plants",
      items: [
        { to: "/", label: "Home", exact: true },
        { to: "/about/", label: "About" },
      ],
    },
  },
};
