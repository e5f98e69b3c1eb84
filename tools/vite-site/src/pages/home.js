// The first page: a greeting and a picture.
import { element } from "../element.js";
import { greeting, variant } from "@variant/words.js";
import picture from "@variant/picture.svg";

export { variant };

export function render() {
  const image = element("img", { src: picture, alt: `Picture of variant ${variant}`, width: 160, height: 160 });
  return element("section", {}, element("h2", { textContent: greeting }), image);
}
