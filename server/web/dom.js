// dom: elements from calls. Text is always a text node, so nothing that the service says becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function setAttribute(element, name, value) {
	if (value === null || value === undefined || value === false)
		return;
	if (typeof value === "function")
		element.addEventListener(name, value);
	else
		element.setAttribute(name, value === true ? "" : String(value));
}

// Lists in lists are fine, and null stands for nothing.
function present(children) {
	return children.flat(Infinity).filter((child) => child !== null && child !== undefined);
}

function fill(element, attributes, children) {
	for (const [name, value] of Object.entries(attributes))
		setAttribute(element, name, value);
	element.append(...present(children));
	return element;
}

// h("button", {class: "main", click: go}, "Go"): a function is a listener, true an empty attribute.
export function h(tag, attributes = {}, ...children) {
	return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
	return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function put(element, ...children) {
	element.replaceChildren(...present(children));
}

// Said by screen readers, seen by nobody.
export function announce(text) {
	document.getElementById("live").textContent = text;
}

export function clearNotice() {
	put(document.getElementById("notice"));
}

// An error of the service (api.js) or of ours, until the next one or the next page.
export function notice(error) {
	const place = error.param ? h("code", {}, error.param) : null;
	const code = error.code ? h("span", {class: "quiet"}, ` (${error.code})`) : null;
	const close = h("button", {type: "button", class: "plain", "aria-label": "Dismiss", click: clearNotice}, "×");
	put(document.getElementById("notice"),
		h("div", {class: "notice"}, h("p", {}, place, place ? ": " : null, error.message, code), close));
}
