// The page: shows the game that the service has, and turns clicks into calls. Whoever looks at the page may move for
// the player whose turn it is.

import { ServiceError, onNewVersion, service } from "/service/index.js";

// These change nothing: they may be asked again when an answer was lost.
const game = service("game", { safe: ["isFinished", "getWinner", "getGame", "about"] });
const MARKS = ["✕", "◯"];
/** A release is seen after so long at the latest: old instances may stay for a while, and keep the connection. */
const RELEASE_EVERY_MS = 30_000;
const at = (id) => document.getElementById(id);
const cells = [...document.querySelectorAll("[data-cell]")];

let shown = null;
let last = Promise.resolve();

/** Shows a state, unless a newer one is there already: answers and events come by different ways. */
function show(state) {
  if (shown && state && state.revision < shown.revision) return;
  shown = state;
  document.documentElement.dataset.game = !state ? "none" : state.finished ? "over" : "on";
  at("status").textContent = sentence(state);
  at("start").hidden = Boolean(state) && !state.finished;
  at("board").hidden = !state;
  at("end").hidden = !state || state.finished;
  cells.forEach((cell, index) => {
    const mark = state?.board[index] ?? null;
    cell.textContent = mark === null ? "" : MARKS[mark];
    cell.disabled = !state || state.finished || mark !== null;
    cell.setAttribute("aria-label", `Cell ${index + 1}: ${mark === null ? "empty" : state.players[mark]}`);
    if (mark === null) delete cell.dataset.mark;
    else cell.dataset.mark = mark;
    cell.toggleAttribute("data-won", Boolean(state?.row.includes(index)));
  });
}

function sentence(state) {
  if (!state) return "No game yet. Who plays?";
  if (state.winner !== null) return `${state.winner} has won!`;
  if (state.finished) return state.board.includes(null) ? "The game was ended." : "A draw. Nobody has won.";
  return `${state.turn} is to move (${MARKS[state.players.indexOf(state.turn)]})`;
}

/** Calls the service once for a click, one after the other, and shows what it says; a no is shown as well. */
function ask(call) {
  last = last.then(async () => {
    at("problem").hidden = true;
    try {
      // A second click may want what the first one has done already.
      const answer = call();
      if (answer) show(await answer);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      at("problem").textContent = `${error.message} (${error.code})`;
      at("problem").hidden = false;
      // Whether the call has counted, the game itself tells.
      await refresh();
    }
  });
}

async function refresh() {
  try {
    show(await game.getGame());
  } catch (error) {
    at("connection").textContent = `not connected (${error.code})`;
  }
}

/** Shows which release serves this page and which answers it; after a switch they differ until the page is loaded. */
async function showRelease() {
  const { version, instance } = await game.about();
  at("backend").textContent = `${version.slice(0, 12)} (${instance})`;
}

async function showFront() {
  const answer = await fetch("/.well-known/devanture/release.json").catch(() => undefined);
  const { version = "unreleased" } = answer?.ok ? await answer.json() : {};
  at("front").textContent = version.slice(0, 12);
  onNewVersion(
    (live) => {
      at("news").hidden = live === null;
      showRelease().catch(() => {});
    },
    { service: game, everyMs: RELEASE_EVERY_MS, version: answer?.ok ? version : undefined },
  );
}

at("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const players = ["player1", "player2"].map((id) => ({ name: at(id).value }));
  ask(() => (!shown || shown.finished) && game.createGame(...players));
});
at("board").addEventListener("click", ({ target }) => {
  const cell = Number(target.closest("[data-cell]")?.dataset.cell ?? NaN);
  ask(() => shown?.turn && shown.board[cell] === null && game.gameAction(shown.turn, "place", [cell]));
});
at("end").addEventListener("click", () => ask(() => shown?.turn && game.endGame()));

const front = showFront();
game.on("changed", show);
game.on("disconnected", () => (at("connection").textContent = "connecting again"));
game.on("connected", async () => {
  at("connection").textContent = "connected";
  // What has happened before, nobody has told.
  await refresh();
  await showRelease().catch(() => {});
  await front;
  document.documentElement.dataset.ready = "true";
});
