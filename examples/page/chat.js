/**
 * The page of the examples: whoever is logged in writes to the others.
 *
 * What the application answers is in `GET /me` and `GET /token`; the rest is Parley's client.
 */

const byId = (id) => document.getElementById(id);

const response = await fetch("/me");
if (response.ok) await chat(await response.json());
else byId("login").hidden = false;

async function chat({ name, users, parley: url }) {
  // Parley serves its client itself; a copy beside this file would do as well.
  const { Parley } = await import(new URL("/parley.js", url));
  const names = new Map(Object.entries(users).map(([name, id]) => [id, name]));

  const show = (from, text) => {
    const item = document.createElement("li");
    item.textContent = `${from}: ${text}`; // never as HTML: somebody else wrote it
    byId("messages").append(item);
    item.scrollIntoView();
    return item;
  };

  const parley = new Parley({
    url,
    token: freshToken,
    account: users[name],
    storage: localStorage, // what could not be sent yet outlives this page
  });
  parley.on("state", (state) => (byId("state").textContent = state));
  parley.on("message", ({ id, sender, message }) => {
    show(names.get(sender) ?? sender, message);
    parley.received(id);
  });
  parley.connect();

  byId("write").addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = byId("text").value;
    byId("text").value = "";
    const item = show(name, text);
    item.classList.add("waiting");
    try {
      await parley.send(byId("receiver").value, text);
      item.classList.remove("waiting"); // it is stored
    } catch (error) {
      item.append(` (${error.message})`);
    }
  });

  for (const [other, id] of Object.entries(users)) {
    if (other !== name) byId("receiver").append(new Option(other, id));
  }
  byId("name").textContent = name;
  byId("chat").hidden = false;
  byId("text").focus();
}

/** A new token for every connection, so that none needs to be valid for long. */
async function freshToken() {
  const response = await fetch("/token");
  if (!response.ok) throw new Error("Your session has ended: log in again.");
  return response.text();
}
