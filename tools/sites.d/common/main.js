// What the bundlers bundle that make no pages: a script whose parts are loaded later, styles, and a picture.
import "./site.css";
import leaf from "./leaf.svg";
import { release } from "./plants.js";

document.body.append(Object.assign(new Image(), { src: leaf, alt: release }));
const parts = { list: () => import("./list.js"), words: () => import("./words.js") };
for (const [name, load] of Object.entries(parts)) document.documentElement.dataset[name] = (await load()).text;
