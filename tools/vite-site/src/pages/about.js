// A page of plain text.
import { element } from "../element.js";
import { greeting, variant } from "@variant/words.js";

export { variant };

export function render() {
  const textContent = `This is variant ${variant} of the site. ${greeting}`;
  return element("p", { className: "about", textContent });
}
