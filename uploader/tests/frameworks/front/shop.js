// The shop's page: the session's cookie goes along by itself, the CSRF token in a header.
const place = id => document.getElementById(id);
const cookie = name => document.cookie.split("; ").find(pair => pair.startsWith(`${name}=`))?.slice(name.length + 1);

async function show() {
  const session = await (await fetch("/api/session")).json();
  place("who").textContent = session.user || "nobody";
  const products = session.user ? (await (await fetch("/api/products")).json()).products : [];
  place("products").replaceChildren(...products.map(product => {
    const line = document.createElement("li");
    const link = document.createElement("a");
    link.href = product.sheet;
    link.textContent = `${product.name}, ${product.price}, ${product.bytes} bytes`;
    line.append(link);
    return line;
  }));
  document.documentElement.dataset.shown = "yes";
}

place("add").addEventListener("submit", async event => {
  event.preventDefault();
  const headers = { "X-CSRFToken": cookie("csrftoken") };
  await fetch("/api/products", { method: "POST", headers, body: new FormData(event.target) });
  await show();
});

show();
