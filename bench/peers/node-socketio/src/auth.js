import jwt from "jsonwebtoken";
import { ChatError } from "./errors.js";
import { uuid } from "./requests.js";

/** Middleware that lets in who has a valid token, and remembers the user as `socket.data.user`. */
export function authentication(secret) {
  return (socket, next) => {
    try {
      socket.data.user = userOf(tokenOf(socket.handshake), secret);
      next();
    } catch (error) {
      const refusal = new Error(error.message);
      refusal.data = { code: error.code };
      next(refusal);
    }
  };
}

function tokenOf({ auth, headers }) {
  const token = auth.token ?? headers.authorization;
  if (typeof token !== "string") throw ChatError.unauthorized("A token is needed");
  return token.replace(/^Bearer\s+/i, "");
}

function userOf(token, secret) {
  try {
    const { sub, id } = jwt.verify(token, secret, { algorithms: ["HS256"] });
    return uuid(sub ?? id, "The token's user");
  } catch {
    throw ChatError.unauthorized("The token is not valid");
  }
}
