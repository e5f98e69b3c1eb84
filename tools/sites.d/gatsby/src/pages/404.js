import React from "react";
import Frame from "../components/frame";

export default function Missing() {
  return <Frame title="No such plant" />;
}
