import React from "react";
import Frame from "../components/frame";

export default function About() {
  return (
    <Frame title="About us">
      <p>We sell plants.</p>
    </Frame>
  );
}
