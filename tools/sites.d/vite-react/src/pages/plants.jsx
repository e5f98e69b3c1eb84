import "./plants.css";
import { Link } from "react-router-dom";
import { plants } from "../../common/plants.js";

export default function Plants() {
  return (
    <>
      <h1>All plants</h1>
      <ul className="plants">
        {plants.map(({ name }) => (
          <li key={name}>
            <Link to={`/plants/${name}`}>{name}</Link>
          </li>
        ))}
      </ul>
    </>
  );
}
