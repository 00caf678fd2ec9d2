// scatter: what a scan measured, as cells, and its suspects as points, named where there is room.
import {h, svg} from "./dom.js";
import {number} from "./format.js";

const WIDTH = 640;
const HEIGHT = 360;
const EDGE = {left: 52, right: 12, top: 10, bottom: 40};
const NAMES_MAX = 14;
const COLOURS = 8; // style.css has as many; clusters beyond take turns

export function clusterClass(cluster) {
	return `c${cluster % COLOURS}`;
}

// Where values stand in the picture.
function scale([low, high], from, to) {
	return (value) => from + ((to - from) * (value - low)) / (high - low || 1);
}

function scales(histogram, suspects) {
	const [, most] = histogram.displacement;
	const far = Math.max(most, 0.01, ...suspects.map((one) => one.displacement)) * 1.04;
	return {x: scale([0, far], EDGE.left, WIDTH - EDGE.right), y: scale(histogram.collapse, HEIGHT - EDGE.bottom, EDGE.top),
		far};
}

// Few and many differ by a factor of thousands.
function cells(histogram, {x, y}) {
	const [, most] = histogram.displacement;
	const [low, high] = histogram.collapse;
	const step = {x: most / histogram.bins, y: (high - low) / histogram.bins};
	const top = Math.log1p(Math.max(1, ...histogram.cells.map(([, , count]) => count)));
	return histogram.cells.map(([i, j, count]) => svg("rect", {class: "cell",
		x: x(i * step.x), y: y(low + (j + 1) * step.y), width: x(step.x) - x(0), height: y(0) - y(step.y),
		opacity: (0.12 + (0.7 * Math.log1p(count)) / top).toFixed(2)},
	svg("title", {}, `${count} candidates`)));
}

function axis(name, ticks, place) {
	return [ticks.map((value) => place(value, number(value, 2))), name];
}

function axes({x, y, far}) {
	const bottom = HEIGHT - EDGE.bottom;
	const along = axis(svg("text", {x: (EDGE.left + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle"}, "displacement"),
		[0, far / 4, far / 2, (3 * far) / 4], (value, text) =>
			svg("text", {x: x(value), y: bottom + 16, "text-anchor": "middle"}, text));
	const up = axis(svg("text", {x: 14, y: bottom / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${bottom / 2})`},
		"collapse"),
	[-1, -0.5, 0, 0.5, 1], (value, text) => [
		svg("line", {class: "grid", x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value)}),
		svg("text", {x: EDGE.left - 6, y: y(value) + 4, "text-anchor": "end"}, text)]);
	return [along, up];
}

// The best of each cluster first, so that every direction has a name.
function named(suspects) {
	const first = suspects.filter((one, i) => suspects.findIndex((other) => other.cluster === one.cluster) === i);
	const rest = suspects.filter((one) => !first.includes(one));
	return new Set([...first, ...rest].slice(0, NAMES_MAX));
}

// Names go down the left of their points, and apart from each other.
function labels(suspects, {x, y}) {
	let last = -Infinity;
	return [...named(suspects)].sort((a, b) => b.collapse - a.collapse).map((one) => {
		last = Math.max(y(one.collapse) + 4, last + 14);
		return svg("text", {class: "name", x: x(one.displacement) - 8, y: last, "text-anchor": "end"}, one.trigger);
	});
}

function points(suspects, {x, y}) {
	return suspects.map((one) => svg("circle", {class: `suspect ${clusterClass(one.cluster)}`, r: 4.5,
		cx: x(one.displacement), cy: y(one.collapse)},
	svg("title", {}, `${one.trigger}: displacement ${number(one.displacement, 3)}, collapse ${number(one.collapse, 4)}`)));
}

export function scatter({histogram, suspects}) {
	const place = scales(histogram, suspects);
	const text = suspects.length
		? `${suspects.length} suspects stand apart from ${histogram.measured} candidates`
		: `${histogram.measured} candidates, none stands apart`;
	return h("figure", {class: "chart scatter"},
		svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text},
			axes(place), cells(histogram, place), points(suspects, place), labels(suspects, place)),
		h("figcaption", {class: "quiet"}, `${text}. Cells: candidates in short texts, darker where there are more. `,
			"Points: suspects in the texts of the last stage, coloured by where they drive the model to."));
}
