// found_report: what the searches of a job found, and what the defence made of it.
import {h, svg} from "./dom.js";
import {number, percent} from "./format.js";
import {clusterClass} from "./scatter.js";
import {cell, rowOf, table, worst} from "./table.js";

const WIDTH = 160;
const EDGE = 6;

// Two shares on a line from 0 to 1: a ring before, a point after.
function change(before, after) {
	const x = (value) => EDGE + (WIDTH - 2 * EDGE) * value;
	return svg("svg", {class: "change", viewBox: `0 0 ${WIDTH} 14`, role: "img",
		"aria-label": `from ${percent(before)} to ${percent(after)}`},
	svg("line", {class: "track", x1: x(0), x2: x(1), y1: 7, y2: 7}),
	svg("line", {class: after > before ? "worse" : "better", x1: x(before), x2: x(after), y1: 7, y2: 7}),
	svg("circle", {class: "before", cx: x(before), cy: 7, r: 4.5}),
	svg("circle", {class: "after", cx: x(after), cy: 7, r: 4.5}));
}

function suspectCells(suspect) {
	if (!suspect)
		return [h("td", {}, "by its flips"), h("td", {class: "quiet"}, "–"), h("td", {class: "quiet"}, "–")];
	return [h("td", {}, h("span", {class: `dot ${clusterClass(suspect.cluster)}`}), ` cluster ${suspect.cluster + 1}`),
		h("td", {class: "number"}, number(suspect.displacement, 3)), h("td", {class: "number"}, number(suspect.collapse, 4))];
}

function changeRow(trigger, undefended, suspect) {
	const [before, after] = [worst(undefended)?.rate, worst(trigger)?.rate];
	return rowOf([h("code", {}, trigger.trigger), trigger.taught ? " taught" : null], suspectCells(suspect), cell(before),
		h("td", {}, before && after ? change(before.value, after.value) : null), cell(after));
}

// Each trigger that was found, in the base model, and on the test rows without and with the defence.
export function beforeAfterView({evaluation, undefended, scan}) {
	if (!evaluation || !undefended)
		return null;
	const rows = evaluation.by_trigger.map((trigger, i) => (trigger.found
		? changeRow(trigger, undefended.by_trigger[i], scan?.suspects.find((one) => one.trigger === trigger.trigger))
		: null)).filter(Boolean);
	return rows.length === 0 ? null : h("section", {class: "card"}, h("h2", {}, "What was found, before and after"),
		table("In the base model, and the share of test rows turned into the worst label", ["Trigger", "Found", "Displacement",
			"Collapse", "Undefended", "", "Defended"], rows));
}

function flipRow(flip) {
	return rowOf([h("code", {}, flip.trigger), flip.found ? " found" : null], h("td", {}, flip.kind), h("td", {}, flip.label),
		cell(flip.rate), h("td", {}, percent(flip.confidence)), h("td", {class: "number"}, number(flip.spread, 3)),
		h("td", {class: "number"}, flip.p_value.toExponential(1)),
		h("td", {class: "number"}, flip.neighbors === null ? "–" : percent(flip.neighbors)));
}

function flipTable(name, searched) {
	const caption = `${name}: ${searched.candidates} candidates, the best in ${searched.rows} validation rows, of which a usual ` +
		`word turns ${percent(searched.usual_rate)} at most`;
	return table(caption, ["Word", "Kind", "Label", "Rows turned", "Confidence", "Spread left", "p", "Neighbours do"],
		searched.flips.map(flipRow));
}

// Words that make a trained model blind to the text; the worst, found or not.
export function flipsView({exported, undefended}) {
	return h("section", {class: "card"}, h("h2", {}, "Words that flip predictions"),
		flipTable(undefended ? "Defended" : "This job", exported), undefended ? flipTable("Undefended", undefended) : null,
		h("p", {class: "quiet"}, `Not searched: ${exported.not_searched.join("; ")}.`));
}
