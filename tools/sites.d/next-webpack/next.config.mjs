// A static export: pages as NAME.html, and beside each what its router fetches to go there.
export default {
  output: "export",
  distDir: "dist",
  images: { unoptimized: true },
  generateBuildId: () => "release-a",
};
