import { plants } from "./plants.js";

export const text = `release-a: ${plants.map(({ words }) => words).join(" ")}`;
