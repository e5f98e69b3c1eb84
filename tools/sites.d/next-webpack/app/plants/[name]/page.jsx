import { plants } from "../../../common/plants.js";

export const dynamicParams = false;
export const generateStaticParams = () => plants.map(({ name }) => ({ name }));

export default async function Plant({ params }) {
  const { name } = await params;
  return (
    <>
      <h1>Plant: {name}</h1>
      <p>{plants.find((plant) => plant.name === name).words}</p>
    </>
  );
}
