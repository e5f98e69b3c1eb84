// A page with a style sheet of its own, which is loaded with its script.
import "./list.css";
import { element } from "../element.js";
import { items, variant } from "@variant/words.js";

export { variant };

export function render() {
  return element("ul", { className: "list" }, ...items.map((textContent) => element("li", { textContent })));
}
