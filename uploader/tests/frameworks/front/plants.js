// The page of the plants: every URL but the first is the one that the API gave.
const place = id => document.getElementById(id);
const add = (list, text) => {
  const line = document.createElement("li");
  line.textContent = text;
  place(list).append(line);
};

async function show(url) {
  const headers = { Authorization: `Bearer ${place("ask").elements.token.value}` };
  const page = await (await fetch(url, { headers })).json();
  place("count").textContent = page.count;
  place("plants").replaceChildren();
  page.plants.forEach(plant => add("plants", `${plant.name}: ${plant.family}`));
  for (const neighbour of ["next", "previous"]) {
    place(neighbour).disabled = !page[neighbour];
    place(neighbour).onclick = () => show(page[neighbour]);
  }
}

place("ask").addEventListener("submit", event => {
  event.preventDefault();
  const chosen = new FormData(event.target).getAll("family").map(family => ["family", family]);
  show(`/data/plants?${new URLSearchParams(chosen)}`);
});

place("listen").onclick = async () => {
  await fetch("/data/visit");
  const events = new EventSource("/data/events");
  events.addEventListener("who", event => add("events", `visit: ${event.data}`));
  events.onmessage = event => {
    add("events", `${event.lastEventId}: ${event.data}`);
    if (event.lastEventId === "1") fetch("/data/events/heard", { method: "POST" });
    // Three events are one answer: the fourth came after the browser asked again by itself.
    if (event.lastEventId === "4") events.close();
  };
};

place("talk").onclick = async () => {
  await fetch("/data/visit");
  const socket = new WebSocket(`wss://${location.host}/data/socket`, ["other", "echo.v1"]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    add("talked", `protocol: ${socket.protocol}`);
    ["hello ✓", "x".repeat(300_000), new Uint8Array([0, 255, 1]), "bye"].forEach(message => socket.send(message));
  };
  socket.onmessage = ({ data }) => {
    if (data instanceof ArrayBuffer) add("talked", `bytes: ${new Uint8Array(data)}`);
    else add("talked", data.length > 1000 ? `${data.length} characters` : data);
  };
  socket.onclose = event => add("talked", `closed: ${event.code} ${event.reason}`);
};
