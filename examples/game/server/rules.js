// The rules: two players put their marks on a board of three by three in turn; three in a row win. Pure functions: a
// game goes in, and the next one comes out.

import { Refusal } from "@devanture/service/server";

const NAME_LENGTH_MAX = 40;
const LINES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]];

/** A new game, which the first player begins. */
export function newGame(id, player1, player2) {
  const players = [player1, player2].map(({ name }) => name.trim());
  if (players.some((name) => name === "" || name.length > NAME_LENGTH_MAX)) {
    throw new Refusal("bad_name", `a name has 1 to ${NAME_LENGTH_MAX} characters`, 400);
  }
  if (players[0] === players[1]) throw new Refusal("same_name", "two players need two names", 400);
  return { id, players, board: Array(9).fill(null), moves: 0, winner: null, ended: false };
}

/** The game after an action of a player. `place` with the list of one cell, 0 to 8, is the only one. */
export function act(game, player, name, args) {
  if (name !== "place") throw new Refusal("unknown_action", "there is no such action", 400);
  if (args.length !== 1 || args[0] < 0 || args[0] > 8) {
    throw new Refusal("bad_cell", "place takes one cell, 0 to 8", 400);
  }
  const [cell] = args;
  const index = game.players.indexOf(player);
  if (index < 0) throw new Refusal("unknown_player", "nobody of that name plays in this game");
  if (isOver(game)) throw new Refusal("game_over", "the game is over");
  if (turnOf(game) !== player) throw new Refusal("not_your_turn", "the other player is to move");
  if (game.board[cell] !== null) throw new Refusal("cell_taken", "there is a mark in that cell");
  const board = game.board.map((mark, at) => (at === cell ? index : mark));
  const hasWon = LINES.some((line) => line.every((at) => board[at] === index));
  return { ...game, board, moves: game.moves + 1, winner: hasWon ? player : null };
}

/** The game after somebody has ended it. */
export function end(game) {
  return { ...game, ended: true };
}

/** Whether somebody has won, every cell is taken, or the game was ended. */
export function isOver(game) {
  return game.winner !== null || game.moves === 9 || game.ended;
}

/** Who is to move; nobody in a game that is over. */
export function turnOf(game) {
  return isOver(game) ? null : game.players[game.moves % 2];
}

/** The cells of the row that has won. */
export function winningCells({ board, winner, players }) {
  if (winner === null) return [];
  return LINES.find((line) => line.every((at) => board[at] === players.indexOf(winner))) ?? [];
}
