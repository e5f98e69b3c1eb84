// Names as webpack's guide on caching gives them.
import MiniCssExtractPlugin from "mini-css-extract-plugin";

export default {
  entry: { main: "./common/main.js" },
  experiments: { outputModule: true },
  output: { module: true, filename: "[name].[contenthash].js", clean: true },
  optimization: { chunkIds: "named", runtimeChunk: "single" },
  plugins: [new MiniCssExtractPlugin({ filename: "[name].[contenthash].css" })],
  module: {
    rules: [
      { test: /\.css$/, use: [MiniCssExtractPlugin.loader, "css-loader"] },
      { test: /\.svg$/, type: "asset/resource" },
    ],
  },
  stats: "errors-warnings",
};
