// Signed versions: whose signatures an environment wants, and the log of what was live, which is exported as the command does.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import fs from "node:fs";
import { after, before, test } from "node:test";
import { DESK, PHONE, end, start, Visit } from "./browser.mjs";

let edge, browser;
const versions = {};

after(end);

before(async () => {
  ({ edge, browser } = await start());
  versions.first = (await edge.push("shop", "First")).version;
  versions.second = (await edge.push("shop", "Second")).version;
  await edge.account("reader", "read", "--app", "shop");
});

/** A public key as OpenSSH writes it, of a pair whose other half nobody keeps. */
function publicKey(name) {
  const { x } = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" });
  const field = (bytes) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  const blob = Buffer.concat([field(Buffer.from("ssh-ed25519")), field(Buffer.from(x, "base64url"))]);
  return `ssh-ed25519 ${blob.toString("base64")} ${name}`;
}

const signers = async () => (await edge.api("GET", "/v1/apps/shop/environments/prod/signers")).json;

test("signers are set, hold pushes, and are removed again", async () => {
  const keys = [publicKey("ada"), publicKey("bob")];
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/signing");
  const { page } = visit;
  await page.getByText("Versions need no signature here.").waitFor();
  await visit.button("Change the signers").click();
  const dialog = visit.dialog();
  const saves = dialog.getByRole("button", { name: "Save" });
  await dialog.getByLabel("Public keys").fill("ada.pub");
  await dialog.getByText("A line is no key of the kind ssh-ed25519.").waitFor();
  assert.ok(await saves.isDisabled());
  await dialog.getByLabel("Public keys").fill(`${keys.join("\n")}\n`);
  await dialog.getByLabel("How many of them have to sign").fill("3");
  assert.ok(await saves.isDisabled());
  await dialog.getByLabel("How many of them have to sign").fill("2");
  await dialog.getByText("--min 2 --app shop").waitFor();
  await saves.click();
  await visit.closed();
  assert.deepEqual((await signers()).signers, keys);
  await page.getByText("2 of 2 signers").waitFor();
  await page.getByText("not signed; it stays live").waitFor();
  // The fingerprint is computed in the page, and is that of the edge.
  const listed = await edge.devanture(["signers", "--app", "shop"]);
  const fingerprint = /SHA256:\S{43}/.exec(listed)[0];
  await page.getByText(fingerprint).waitFor();
  const refused = await edge.devanture(["push", edge.site({ "index.html": "<title>Third</title>" }), "--app", "shop", "--json"], { code: 1 });
  assert.match(refused, /"not_signed"/);
  await visit.go("/console/apps/shop");
  await page.getByText("0 of the 2 that are wanted").click();

  // Somebody else changes them between the look and the click.
  visit.expect(/\/signers$/, 409);
  await visit.button("Remove: ada").click();
  await edge.api("PUT", "/v1/apps/shop/environments/prod/signers", { body: { signers: keys, signatures_min: 1 } });
  await visit.dialog().getByRole("button", { name: "Remove" }).click();
  await visit.dialog().getByText("Meanwhile somebody else has changed the signers.").waitFor();
  await page.keyboard.press("Escape");
  await visit.closed();
  assert.equal((await signers()).signers.length, 2);
  for (const name of ["ada", "bob"]) {
    await visit.button(`Remove: ${name}`).click();
    await visit.dialog().getByRole("button", { name: "Remove" }).click();
    await visit.closed();
    await visit.button(`Remove: ${name}`).waitFor({ state: "detached" });
  }
  await page.getByText("Versions need no signature here.").waitFor();
  assert.deepEqual((await signers()).signers, []);
  await visit.close();
});

test("the log of what was live is exported as the command prints it", async () => {
  const visit = await Visit.open(browser, edge);
  await visit.logIn("/console/apps/shop/signing", { account: "reader" });
  const { page } = visit;
  const rows = page.getByRole("group", { name: "What was live when" }).getByRole("row");
  await rows.nth(1).getByText(versions.second.slice(0, 12)).waitFor();
  // Between them stand the changes of the signers, which nobody signs.
  await rows.last().getByText(versions.first.slice(0, 12)).waitFor();
  // Who may only read is offered no change.
  assert.equal(await page.getByRole("button", { name: /signers|^Remove/ }).count(), 0);
  const downloaded = page.waitForEvent("download");
  await visit.button("Export").click();
  const download = await downloaded;
  assert.equal(download.suggestedFilename(), "shop-prod-live-log.ndjson");
  const text = fs.readFileSync(await download.path(), "utf8");
  assert.equal(text.trimEnd(), (await edge.devanture(["live-log", "--app", "shop", "--export"])).trimEnd());
  await visit.close();
});

for (const [scheme, viewport, name] of [
  ["light", DESK, "a desk in light"],
  ["dark", PHONE, "a phone in the dark"],
]) {
  test(`signers hold to the rules of accessibility, on ${name}`, async () => {
    const body = { signers: [publicKey("ada"), publicKey("a person with a long name at some laptop")], signatures_min: 2 };
    await edge.api("PUT", "/v1/apps/shop/environments/prod/signers", { body });
    const visit = await Visit.open(browser, edge, { scheme, viewport, bypassCSP: true });
    await visit.logIn("/console/apps/shop/signing");
    await visit.page.getByText("2 of 2 signers").waitFor();
    const found = await visit.axe();
    await visit.fits();
    for (const opens of ["Change the signers", "Remove: ada"]) {
      await visit.button(opens).click();
      await visit.dialog().getByText("From then on").waitFor();
      found.push(...(await visit.axe()));
      await visit.fits();
      await visit.page.keyboard.press("Escape");
      await visit.closed();
    }
    assert.deepEqual(found, []);
    await visit.close();
  });
}
