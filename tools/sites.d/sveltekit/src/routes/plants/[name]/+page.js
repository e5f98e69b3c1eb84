import { error } from "@sveltejs/kit";
import { plants } from "../../../../common/plants.js";

export const load = ({ params }) => plants.find(({ name }) => name === params.name) ?? error(404);
