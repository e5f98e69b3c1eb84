import Image from "next/image";
import leaf from "../common/leaf.svg";
import { release } from "../common/plants.js";
import Counter from "./counter.jsx";

export default function Home() {
  return (
    <>
      <h1>Plants</h1>
      <p>This is {release}.</p>
      <Image src={leaf} alt="A leaf" />
      <Counter />
    </>
  );
}
