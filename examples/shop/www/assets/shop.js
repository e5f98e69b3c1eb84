// The basket and the filter. Without this script every page can still be read: what needs it is hidden until it runs.

const basket = new Map(readBasket());

function readBasket() {
  try {
    return JSON.parse(localStorage.getItem("basket") ?? "[]");
  } catch {
    // No storage, or something else wrote there: the visitor begins with an empty basket.
    return [];
  }
}

function keepBasket() {
  try {
    localStorage.setItem("basket", JSON.stringify([...basket]));
  } catch {
    // The basket then lasts as long as the page.
  }
}

function showBasket() {
  const count = [...basket.values()].reduce((sum, pieces) => sum + pieces, 0);
  document.querySelector("#basket-count").value = String(count);
  document.querySelector(".basket").hidden = false;
}

for (const button of document.querySelectorAll("[data-add]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const plant = button.dataset.add;
    basket.set(plant, (basket.get(plant) ?? 0) + 1);
    keepBasket();
    showBasket();
  });
}

const filter = document.querySelector(".filter");
if (filter) {
  const cards = [...document.querySelectorAll(".card")];
  const light = filter.querySelector("select");
  filter.hidden = false;
  light.addEventListener("change", () => {
    for (const card of cards) {
      // A plant that takes any light suits every room.
      card.hidden = light.value !== "" && ![light.value, "Any light"].includes(card.dataset.light);
    }
    const shown = cards.filter((card) => !card.hidden).length;
    filter.querySelector("output").value = `${shown} of ${cards.length} plants`;
  });
}

showBasket();
