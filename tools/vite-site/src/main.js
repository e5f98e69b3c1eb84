// Loads each page of the site only when it is visited: a visitor who has version A open and clicks after the switch to
// version B asks for a file that B does not have.
import "./site.css";
import { variant } from "@variant/words.js";

const pages = {
  home: () => import("./pages/home.js"),
  list: () => import("./pages/list.js"),
  about: () => import("./pages/about.js"),
};

// Shows a page, and says of which variant the code that made it was.
async function visit(name) {
  const page = await pages[name]();
  document.querySelector("main").replaceChildren(page.render());
  document.documentElement.dataset.page = name;
  return page.variant;
}

for (const button of document.querySelectorAll("button[data-page]")) {
  button.addEventListener("click", () => visit(button.dataset.page));
}

window.visit = visit;
document.documentElement.dataset.variant = variant;
await visit("home");
document.documentElement.dataset.ready = variant;
