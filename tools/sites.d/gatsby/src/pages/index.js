import React from "react";
import leaf from "../../common/leaf.svg";
import { release } from "../../common/plants.js";
import Frame from "../components/frame";

export const Head = () => (
  <>
    <link rel="icon" type="image/svg+xml" href="/leaf.svg" />
    <title>Plants</title>
  </>
);

export default function Home() {
  return (
    <Frame title="Plants">
      <p>This is {release}.</p>
      <img src={leaf} alt="A leaf" />
    </Frame>
  );
}
