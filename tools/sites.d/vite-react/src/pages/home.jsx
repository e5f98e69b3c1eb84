import leafLarge from "../../common/leaf-large.svg";
import leaf from "../../common/leaf.svg";
import { release } from "../../common/plants.js";

export default function Home() {
  return (
    <>
      <h1>Plants</h1>
      <p>This is {release}.</p>
      <img src={leaf} srcSet={`${leaf} 1x, ${leafLarge} 2x`} alt="A leaf" />
    </>
  );
}
