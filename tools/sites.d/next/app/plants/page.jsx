import Link from "next/link";
import { plants } from "../../common/plants.js";

export default function Plants() {
  return (
    <>
      <h1>All plants</h1>
      <ul>
        {plants.map(({ name }) => (
          <li key={name}>
            <Link href={`/plants/${name}`}>{name}</Link>
          </li>
        ))}
      </ul>
    </>
  );
}
