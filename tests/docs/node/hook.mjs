// Runs the hook of docs/howto/react.md in React itself: `node hook.mjs URL TOKEN RECEIVER`.

import { createElement } from "react";
import { act, create } from "react-test-renderer";
import { useParley } from "./useParley.js";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
const [url, token, receiver] = process.argv.slice(2);
let asked = 0;
const getToken = async () => (asked++ ? token : "one that is refused");
let chat;

function Chat() {
  chat = useParley(url, getToken);
  return chat.chats.map(({ id, message }) => createElement("li", { key: id }, message));
}

/** Lets React and the network go on until something holds. */
async function until(holds) {
  while (!holds()) await act(() => new Promise((go) => setTimeout(go, 20)));
}

const texts = (tree) => tree.root.findAllByType("li").map((item) => item.children[0]);

let tree;
await act(async () => {
  tree = create(createElement(Chat));
});
await until(() => chat.connected && texts(tree).length === 1);
console.log("waited for us:", texts(tree)[0]);

await act(() => chat.send(receiver, "from the hook"));
console.log("sent:", texts(tree)[1]);

await until(() => texts(tree).length === 3);
console.log("arrived:", texts(tree)[2]);

await act(async () => tree.unmount());
