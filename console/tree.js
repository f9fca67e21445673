// A supervision tree as nested lists.

import { keyed, make, setAttribute, setText, show } from "./dom.js";
import { many } from "./words.js";

const KEPT = new WeakMap(); // per list, its children by key

export function updateTree(list, tree) {
  updateChildren(list, tree ? [tree] : []);
}

function updateChildren(list, nodes) {
  if (!KEPT.has(list)) KEPT.set(list, new Map());
  keyed(list, KEPT.get(list), nodes, (node, index) => `${index} ${node.name}`, createNode, updateNode);
  show(list, nodes.length > 0);
}

function createNode(node) {
  const item = make("li");
  const line = make("div", "actor");
  line.append(make("span", "name", node.name), make("span", "state"), make("span", "note"));
  item.append(line, make("ul"));
  return item;
}

function updateNode(item, node) {
  const [, state, note] = item.firstElementChild.children;
  setText(state, node.state || "");
  setAttribute(state, "data-state", node.state || "");
  show(state, Boolean(node.state));
  const restarts = node.restarts ? [`restarted ${many(node.restarts, "time")}`] : [];
  const significant = node.significant ? ["its end ends all"] : [];
  setText(note, [...significant, ...restarts].join(", "));
  updateChildren(item.lastElementChild, node.children || []);
}
