import { plants } from "./plants.js";

export const text = plants.map(({ name }) => name).join(", ");
