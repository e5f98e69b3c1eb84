import { Link } from "gatsby";
import React from "react";
import { plants } from "../../../common/plants.js";
import Frame from "../../components/frame";

export default function Plants() {
  return (
    <Frame title="All plants">
      <ul>
        {plants.map(({ name }) => (
          <li key={name}>
            <Link to={`/plants/${name}/`}>{name}</Link>
          </li>
        ))}
      </ul>
    </Frame>
  );
}
