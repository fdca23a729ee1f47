/**
 * A small application with users of its own, who chat through Parley.
 *
 * To an application that has users already, Parley adds one thing: `GET /token`.
 * All the rest here stands for what such an application has anyway.
 */

import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import cookieParser from "cookie-parser";
import express from "express";
import jwt from "jsonwebtoken";

const secret = process.env.JWT_SECRET_KEY;
if (!secret) {
  console.error("Set JWT_SECRET_KEY to the secret that Parley has.");
  process.exit(1);
}
const parley = process.env.PARLEY_URL ?? "http://127.0.0.1:3000";
const port = Number(process.env.PORT ?? 8000);

/** Long enough to connect with. The page asks for a new one whenever it connects. */
const TOKEN_SECONDS = 15 * 60;
const SESSION_COOKIE = "example_session";
const PAGE = fileURLToPath(new URL("../page", import.meta.url));

/** Names, and the ids by which Parley knows them; a real application asks its database. */
const USERS = new Map([
  ["alice", "a11ce000-0000-4000-8000-000000000001"],
  ["bob", "b0b00000-0000-4000-8000-000000000002"],
]);

/** Who is logged in, by the value of the cookie. Forgotten when the program ends. */
const sessions = new Map();

/** Lets those pass who are logged in, with their name in `request.user`. */
function loggedIn(request, response, next) {
  request.user = sessions.get(request.cookies[SESSION_COOKIE]);
  if (request.user) next();
  else response.status(401).json({ detail: "Log in first." });
}

const app = express();
app.use(cookieParser());

/** Begins a session. A real application asks for more than a name. */
app.post("/login", express.urlencoded(), (request, response) => {
  const name = request.body?.name;
  if (!USERS.has(name)) {
    const names = [...USERS.keys()].join(" and ");
    response.status(403).json({ detail: `There is nobody of that name, only ${names}.` });
    return;
  }
  const session = randomBytes(32).toString("base64url");
  sessions.set(session, name);
  response.cookie(SESSION_COOKIE, session, { httpOnly: true, sameSite: "lax" });
  response.redirect(303, "/");
});

/** Ends the session, if there is one. */
app.post("/logout", (request, response) => {
  sessions.delete(request.cookies[SESSION_COOKIE]);
  response.clearCookie(SESSION_COOKIE).redirect(303, "/");
});

/** What the page wants to know: who is logged in, whom to write to, and where Parley is. */
app.get("/me", loggedIn, (request, response) => {
  response.json({ name: request.user, users: Object.fromEntries(USERS), parley });
});

/** What Parley asks for: the user's id and two times, signed with the secret that both know. */
app.get("/token", loggedIn, (request, response) => {
  const token = jwt.sign({}, secret, {
    algorithm: "HS256",
    subject: USERS.get(request.user),
    expiresIn: TOKEN_SECONDS,
  });
  response.set("Cache-Control", "no-store").type("text/plain").send(token);
});

app.use(express.static(PAGE));

app.listen(port, "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`The application is at http://127.0.0.1:${port}`);
});
