// table: tables of measures: a share with its interval, and the rows around it.
import {h, svg} from "./dom.js";
import {counts, interval, percent} from "./format.js";

// A share and its interval on a line from 0 to 1.
function intervalBar(measure) {
	const [low, high] = measure.interval || [measure.value, measure.value];
	return svg("svg", {class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"},
		svg("line", {class: "track", x1: 0, x2: 100, y1: 5, y2: 5}),
		svg("rect", {class: "span", x: 100 * low, width: Math.max(100 * (high - low), 0.5), y: 2.5, height: 5}),
		svg("rect", {class: "point", x: Math.min(100 * measure.value, 99), width: 1, y: 0, height: 10}));
}

export function cell(measure) {
	if (!measure || measure.value === null)
		return h("td", {class: "quiet"}, "–");
	return h("td", {}, h("strong", {title: counts(measure)}, percent(measure.value)),
		h("span", {class: "quiet interval"}, interval(measure.interval)), intervalBar(measure));
}

export function table(caption, heads, rows) {
	return h("div", {class: "scroll"}, h("table", {}, h("caption", {}, caption),
		h("thead", {}, h("tr", {}, heads.map((text) => h("th", {scope: "col"}, text)))), h("tbody", {}, rows)));
}

export function rowOf(head, ...cells) {
	return h("tr", {}, h("th", {scope: "row"}, head), cells);
}

// Of a trigger's targets the label that it turns most rows into; null where nothing is known.
export function worst(trigger) {
	const known = (trigger.targets || []).filter(({rate}) => rate.value !== null);
	return known.reduce((most, next) => (most === null || next.rate.value > most.rate.value ? next : most), null);
}
