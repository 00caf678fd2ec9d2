// scan_report: what a scan found: of a scan of its own, and as a part of a job's report.
import {badge} from "./badge.js";
import {h, put} from "./dom.js";
import {duration, number} from "./format.js";
import {clusterClass, scatter} from "./scatter.js";

const SHOWN = 60; // suspects in the table before "all"

const SENTENCES = {
	clean: "Nothing of what was tried stands out.",
	suspicious: "These words make the model blind to the text around them.",
	undecided: "Nothing was decided.",
};

function suspectRow(one) {
	const numbers = [number(one.displacement, 3), number(one.collapse, 4), number(one.spread, 3), one.p_value.toExponential(1)];
	return h("tr", {}, h("th", {scope: "row"}, h("code", {}, one.trigger)), h("td", {}, one.kind), h("td", {}, one.pieces),
		numbers.map((text) => h("td", {class: "number"}, text)),
		h("td", {}, h("span", {class: `dot ${clusterClass(one.cluster)}`}), ` ${one.cluster + 1}`));
}

function suspectTable(suspects) {
	const heads = ["Trigger", "Kind", "Pieces", "Displacement", "Collapse", "Spread", "p", "Cluster"];
	const body = h("tbody", {}, suspects.slice(0, SHOWN).map(suspectRow));
	const all = h("button", {type: "button", click: () => {
		put(body, suspects.map(suspectRow));
		all.remove();
	}}, `All ${suspects.length}`);
	return h("section", {class: "card scroll"}, h("h2", {}, "Suspects"), h("table", {},
		h("thead", {}, h("tr", {}, heads.map((text) => h("th", {scope: "col"}, text)))), body),
	suspects.length > SHOWN ? all : null);
}

function verdictView(report) {
	const looks = {clean: "pass", suspicious: "fail", undecided: ""};
	const counted = `${report.candidates} candidates in ${report.texts} texts, ${duration(report.seconds)}`;
	return h("section", {class: `card verdict ${looks[report.verdict]}`},
		h("h2", {}, badge(report.verdict), " ", SENTENCES[report.verdict]),
		h("p", {class: "quiet"}, report.candidates === null ? "The scan has no result." : counted,
			report.clusters ? `; the suspects drive the model in ${report.clusters} directions` : "",
			report.left_out ? `; ${report.left_out} more only contain a suspect or are beyond the list` : ""));
}

function gapsView(gaps) {
	return h("section", {class: "card"}, h("h2", {}, "Not searched"), h("ul", {}, gaps.map((gap) => h("li", {}, gap))));
}

export function scanView(report) {
	return [verdictView(report), report.histogram ? scatter(report) : null,
		report.suspects.length ? suspectTable(report.suspects) : null,
		report.not_searched ? gapsView(report.not_searched) : null];
}
