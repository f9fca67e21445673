// The few things that all parts of the page do to the document. Data becomes text, never markup.

export const byId = (id) => document.getElementById(id);

export function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

// Written only when it differs: what the user has selected stays selected.
export function setText(node, text) {
  const value = text === null || text === undefined ? "" : String(text);
  if (node.textContent !== value) node.textContent = value;
}

export function setAttribute(node, name, value) {
  const text = String(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

// A paragraph that is there only while it has something to say.
export function say(node, text) {
  setText(node, text);
  show(node, Boolean(text));
}

export function setWidth(bar, share) {
  const value = `scaleX(${Math.max(0, Math.min(1, share || 0)).toFixed(3)})`;
  if (bar.style.transform !== value) bar.style.transform = value;
}

// Children of `parent` for `items`, one per key, made once, moved only when out of place. `made` keeps them by key.
export function keyed(parent, made, items, keyOf, create, update) {
  const wanted = new Map(items.map((item, index) => [keyOf(item, index), item]));
  for (const [key, node] of made) {
    if (!wanted.has(key)) {
      node.remove();
      made.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    let node = made.get(key);
    if (!node) {
      node = create(item);
      made.set(key, node);
    }
    update(node, item);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
}

// A <dl> of name and value, kept from one state to the next. `facts`: [name, value, level of trouble, share of a bound].
export function definitions(list, made, facts) {
  keyed(list, made, facts, (fact) => fact[0], createFact, updateFact);
}

function createFact([name]) {
  const group = make("div", "fact");
  const value = make("dd");
  value.append(make("span", "value"));
  group.append(make("dt", "", name), value);
  return group;
}

function updateFact(group, [name, value, trouble = "", share = null]) {
  setText(group.querySelector(".value"), value);
  setAttribute(group, "data-trouble", trouble);
  if (share === null) return;
  let bar = group.querySelector(".fill > i");
  if (!bar) {
    const fill = make("span", "fill");
    fill.setAttribute("role", "meter");
    fill.setAttribute("aria-label", name);
    fill.setAttribute("aria-valuemin", "0");
    fill.setAttribute("aria-valuemax", "100");
    bar = fill.appendChild(make("i"));
    group.querySelector("dd").append(fill);
  }
  setAttribute(bar.parentNode, "aria-valuenow", Math.round(share * 100));
  setAttribute(bar.parentNode, "aria-valuetext", value);
  setAttribute(bar.parentNode, "data-full", share >= 0.8 ? "yes" : "no");
  setWidth(bar, share);
}
