/** Checks what clients send. Each function returns the value, or throws a ChatError. */

import { ChatError } from "./errors.js";

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;
const MESSAGE_MAX = 10_000;

/** A UUID in its canonical lower case. */
export function uuid(value, name) {
  if (typeof value !== "string" || !UUID.test(value)) {
    throw ChatError.badRequest(`${name} must be a UUID`);
  }
  return value.toLowerCase();
}

/** Text that PostgreSQL can hold. */
export function text(value) {
  if (typeof value !== "string" || value === "") {
    throw ChatError.badRequest("message must be a non-empty string");
  }
  if (value.length > MESSAGE_MAX) {
    throw ChatError.badRequest(`message must have at most ${MESSAGE_MAX} characters`);
  }
  if (value.includes("\0")) throw ChatError.badRequest("message must not contain NUL");
  return value;
}
