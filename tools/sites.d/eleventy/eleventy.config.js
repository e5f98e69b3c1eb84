// Pages without a script; what they show is copied under its own name.
export default function (config) {
  config.addPassthroughCopy("common/*.{svg,css}");
  return { dir: { output: "dist" } };
}
