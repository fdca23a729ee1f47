// Begins here: who is it? Then the chat.

import { Chat } from "./chat.js";
import { $, copyOf, show } from "./dom.js";
import { People } from "./people.js";

const TOKEN = "parley:token"; // of this window: another one may be somebody else's
const PROBLEM = "parley:problem"; // to tell after the page has been loaded anew
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** @typedef {{name: string, id: string, token: string}} ReadyUser */

/** The user of a token, or undefined if it is none. @param {string} token */
function userOf(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    const values = [claims.sub, claims.id, ...Object.values(claims)];
    return values.find((value) => UUID.test(value))?.toLowerCase();
  } catch {
    return undefined;
  }
}

/** A token of a link's fragment, which goes away from the address bar. */
function takeFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(null, "", location.pathname);
  return token;
}

/** Those as whom one can log in at once: with `parley dev`, on its own machine. */
async function readyUsers() {
  try {
    return /** @type {ReadyUser[]} */ (await (await fetch("/users.json")).json());
  } catch {
    return []; // the server is away: the chat says so
  }
}

/** Begins anew, as somebody or, without a token, with the question who it is. */
function begin(token = "", problem = "") {
  sessionStorage.setItem(TOKEN, token);
  sessionStorage.setItem(PROBLEM, problem);
  location.reload();
}

/** @param {HTMLElement} element @param {string} problem */
function complain(element, problem) {
  element.textContent = problem;
  show(element, problem);
}

// -- who is it?

/** @param {ReadyUser[]} ready @param {People} people */
function askWho(ready, people) {
  show($("login"), true);
  complain($("login-problem"), sessionStorage.getItem(PROBLEM) ?? "");
  sessionStorage.removeItem(PROBLEM);
  show($("ready"), ready.length);
  $("ready-users").replaceChildren(...ready.map((user) => readyUser(user, people)));
  $("token-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const token = $("token").value.trim().replace(/^bearer\s+/i, "");
    if (userOf(token)) begin(token);
    else complain($("login-problem"), "That is no token with a user’s UUID in it.");
  });
}

/** @param {ReadyUser} user @param {People} people */
function readyUser({ id, name, token }, people) {
  const item = copyOf("ready-user");
  people.paint(item.querySelector(".avatar"), id);
  item.querySelector(".name").textContent = name;
  item.querySelector("button").addEventListener("click", () => begin(token));
  return item;
}

/** @param {{code: string, message: string}} error */
function reasonOf({ code, message }) {
  return code === "token_expired" ? "That token has expired. Please give another." : message;
}

// -- the chat

/** @param {string} me @param {string} token @param {ReadyUser[]} ready @param {People} people */
function showChat(me, token, ready, people) {
  const others = ready.filter(({ id }) => id !== me);
  show($("chat"), true);
  people.paint($("my-avatar"), me);
  $("my-name").textContent = people.nameOf(me);
  $("my-name").title = me;
  const chat = new Chat({ me, token, people, onRefused: (error) => begin("", reasonOf(error)) });
  for (const { id } of others) chat.list(id);
  $("sign-out").addEventListener("click", () => begin());
  prepareSecondWindow(others[0]);
  prepareNewChat(chat, people);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !event.isComposing && !$("new-chat").open) chat.back();
  });
  chat.start();
}

/** @param {ReadyUser | undefined} other */
function prepareSecondWindow(other) {
  show($("second-window"), other);
  if (!other) return;
  $("second-link").textContent = `open a window as ${other.name}`;
  $("second-link").href = `/#token=${other.token}`;
}

/** @param {Chat} chat @param {People} people */
function prepareNewChat(chat, people) {
  const dialog = $("new-chat");
  $("new-chat-button").addEventListener("click", () => {
    $("new-chat-form").reset();
    complain($("peer-problem"), "");
    dialog.showModal();
  });
  $("new-chat-cancel").addEventListener("click", () => dialog.close());
  $("new-chat-form").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const peer = $("peer").value.trim().toLowerCase();
    const name = $("nickname").value.trim();
    $("peer").ariaInvalid = String(!UUID.test(peer));
    if (!UUID.test(peer)) return complain($("peer-problem"), "A user’s id is a UUID.");
    if (name) people.call(peer, name);
    dialog.close();
    chat.open(peer);
  });
}

async function main() {
  const token = takeFromAddress() ?? sessionStorage.getItem(TOKEN) ?? "";
  addEventListener("hashchange", () => begin(takeFromAddress() ?? token));
  const ready = await readyUsers();
  const people = new People(ready);
  const me = userOf(token);
  if (!me) return askWho(ready, people);
  sessionStorage.setItem(TOKEN, token);
  showChat(me, token, ready, people);
}

main();
