import React from "react";
import { plants } from "../../../common/plants.js";
import Frame from "../../components/frame";

export default function Plant() {
  return (
    <Frame title="Plant: palm">
      <p>{plants.find(({ name }) => name === "palm").words}</p>
    </Frame>
  );
}
