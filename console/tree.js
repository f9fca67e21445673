// A supervision tree as nested lists.

import { keyed, make, setAttribute, setText, show } from "./dom.js";
import { many } from "./words.js";

const KEPT = new WeakMap(); // per list, its children by key

// `whole`: what a significant actor's end ends.
export function updateTree(list, tree, whole) {
  updateChildren(list, tree ? [tree] : [], whole);
}

function updateChildren(list, nodes, whole) {
  if (!KEPT.has(list)) KEPT.set(list, new Map());
  keyed(list, KEPT.get(list), nodes, (node, index) => `${index} ${node.name}`, createNode, (item, node) => updateNode(item, node, whole));
  show(list, nodes.length > 0);
}

function createNode(node) {
  const item = make("li");
  const line = make("div", "actor");
  line.append(make("span", "name", node.name), make("span", "state"), make("span", "note"));
  item.append(line, make("ul"));
  return item;
}

function updateNode(item, node, whole) {
  const [, state, note] = item.firstElementChild.children;
  setText(state, node.state || "");
  setAttribute(state, "data-state", node.state || "");
  show(state, Boolean(node.state));
  const restarts = node.restarts ? [`restarted ${many(node.restarts, "time")}`] : [];
  const significant = node.significant ? [`its end ends the ${whole}`] : [];
  setText(note, [...significant, ...restarts].join(", "));
  updateChildren(item.lastElementChild, node.children || [], whole);
}
