import React from "react";
import { plants } from "../../../common/plants.js";
import Frame from "../../components/frame";

export default function Plant() {
  return (
    <Frame title="Plant: fern">
      <p>{plants.find(({ name }) => name === "fern").words}</p>
    </Frame>
  );
}
