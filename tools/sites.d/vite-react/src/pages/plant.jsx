import { useParams } from "react-router-dom";
import { plants } from "../../common/plants.js";

export default function Plant() {
  const { name } = useParams();
  return (
    <>
      <h1>Plant: {name}</h1>
      <p>{plants.find((plant) => plant.name === name)?.words}</p>
    </>
  );
}
