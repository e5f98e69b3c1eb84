// The service `game`: what a browser can call, and what it can wait for.

import { act, end, isOver, newGame, turnOf, winningCells } from "./rules.js";
import { Refusal } from "@devanture/service/server";

const PLAYER = { name: "string" };

/** One game at a time, for all who come. Its state is in a store, so that every instance knows it. */
export class Game {
  static functions = {
    createGame: [PLAYER, PLAYER],
    gameAction: ["string", "string", ["integer"]],
    isFinished: [],
    getWinner: [],
    endGame: [],
    getGame: [],
    about: [],
  };

  /** `changed` comes with what `getGame` answers, after each change, on whichever instance it was made. */
  static events = ["changed"];

  #store;
  #release;

  constructor(store, release) {
    this.#store = store;
    this.#release = release;
  }

  /** Begins a game, unless one is under way: `createGame({name: "Georgesdelajungle"}, {name: "Aladdin"})`. */
  async createGame(player1, player2) {
    const step = (game) => {
      if (game && !isOver(game)) throw new Refusal("game_under_way", "a game is under way: play or end it first");
      return newGame((game?.id ?? 0) + 1, player1, player2);
    };
    return view(await this.#store.change(step));
  }

  /** What a player does: `gameAction("Aladdin", "place", [4])`. */
  async gameAction(player, name, args) {
    return view(await this.#store.change((game) => act(must(game), player, name, args)));
  }

  /** Whether the game is over: won, drawn or ended. */
  async isFinished() {
    return isOver(must((await this.#store.read()).value));
  }

  /** The winner's name; null while there is none, and after a draw. */
  async getWinner() {
    return must((await this.#store.read()).value).winner;
  }

  /** Ends the game. One that is over stays as it is. */
  async endGame() {
    const { number, value } = await this.#store.read();
    if (isOver(must(value))) return view({ number, value });
    return view(await this.#store.change((game) => (isOver(game) ? game : end(game))));
  }

  /** All that a page shows; null before the first game. `revision` grows with each change. */
  async getGame() {
    return view(await this.#store.read());
  }

  /** Which release this is, and which of its instances has answered. */
  about() {
    return this.#release;
  }
}

/** The game as a page needs it. */
export function view({ number, value: game }) {
  if (!game) return null;
  const { id, players, board, winner } = game;
  const [turn, finished, row] = [turnOf(game), isOver(game), winningCells(game)];
  return { revision: number, id, players, board, turn, finished, winner, row };
}

function must(game) {
  if (!game) throw new Refusal("no_game", "there is no game yet");
  return game;
}
