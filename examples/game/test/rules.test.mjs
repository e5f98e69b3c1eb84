// The rules of the game.

import assert from "node:assert/strict";
import { test } from "node:test";
import { act, end, isOver, newGame, turnOf, winningCells } from "../dist/server/rules.js";

const [GEORGES, ALADDIN] = ["Georgesdelajungle", "Aladdin"];
const fresh = () => newGame(1, { name: GEORGES }, { name: ALADDIN });
const play = (cells, game = fresh()) => cells.reduce((now, cell) => act(now, turnOf(now), "place", [cell]), game);
const code = (expected) => ({ name: "Error", code: expected });

test("the players move in turn, and the first one begins", () => {
  assert.equal(turnOf(fresh()), GEORGES);
  assert.equal(turnOf(play([4])), ALADDIN);
  assert.equal(turnOf(play([4, 0])), GEORGES);
});

test("each of the eight rows wins", () => {
  const rows = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];
  for (const row of rows) {
    const [a, b] = [0, 1, 2, 3, 4, 5, 6, 7, 8].filter((cell) => !row.includes(cell));
    const game = play([row[0], a, row[1], b, row[2]]);
    assert.deepEqual([game.winner, isOver(game), turnOf(game)], [GEORGES, true, null], `${row}`);
    assert.deepEqual(winningCells(game), row);
  }
});

test("the second player can win, also with the last but one cell", () => {
  assert.equal(play([0, 4, 1, 2, 3, 6]).winner, ALADDIN);
});

test("nine marks without a row are a draw", () => {
  const game = play([0, 1, 2, 4, 3, 5, 7, 6, 8]);
  assert.deepEqual([game.winner, isOver(game), winningCells(game)], [null, true, []]);
});

test("a game that was ended has no winner and no more moves", () => {
  const game = end(play([0]));
  assert.deepEqual([game.winner, isOver(game), turnOf(game)], [null, true, null]);
  assert.throws(() => act(game, ALADDIN, "place", [1]), code("game_over"));
});

test("what the rules forbid is refused, and changes nothing", () => {
  const game = play([4]);
  const before = structuredClone(game);
  assert.throws(() => act(game, GEORGES, "place", [0]), code("not_your_turn"));
  assert.throws(() => act(game, ALADDIN, "place", [4]), code("cell_taken"));
  assert.throws(() => act(game, "Jafar", "place", [0]), code("unknown_player"));
  assert.throws(() => act(game, ALADDIN, "fly", [0]), code("unknown_action"));
  for (const args of [[], [9], [-1], [0, 1]]) assert.throws(() => act(game, ALADDIN, "place", args), code("bad_cell"));
  assert.throws(() => newGame(1, { name: "A" }, { name: " A " }), code("same_name"));
  assert.throws(() => newGame(1, { name: " " }, { name: "A" }), code("bad_name"));
  assert.throws(() => newGame(1, { name: "A".repeat(41) }, { name: "A" }), code("bad_name"));
  assert.deepEqual(game, before);
});
