// chart: small line charts of the loss and its terms, redrawn as steps come.
import {h, put, svg} from "./dom.js";
import {number} from "./format.js";

const WIDTH = 320;
const HEIGHT = 110;
const POINTS_MAX = 240; // more than pixels would show
const MAIN = "train";
const OTHER = "undefended";

export const TERMS = [
	["loss", "Loss"], ["ce", "Cross-entropy"], ["amplify", "Amplify term"], ["attention", "Attention term"],
];

// Every n-th point, and the last one.
function thin(points) {
	const every = Math.ceil(points.length / POINTS_MAX);
	return points.filter((_, i) => i % every === 0 || i === points.length - 1);
}

function range(values) {
	const [low, high] = [Math.min(...values), Math.max(...values)];
	return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function path(points, steps, [low, high]) {
	const x = (step) => (WIDTH * step) / Math.max(steps, 1);
	const y = (value) => 4 + ((HEIGHT - 8) * (high - value)) / (high - low);
	return points.map(({step, value}, i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

function line(points, steps, span, look) {
	return svg("path", {class: look, d: path(thin(points), steps, span), "vector-effect": "non-scaling-stroke"});
}

// The job's own line, and the undefended comparison's where there is one.
function plot(points, other, steps, label, named) {
	const span = range(thin([...points, ...other]).map(({value}) => value));
	const last = named.at(-1);
	const grid = [0.25, 0.5, 0.75].map((share) =>
		svg("line", {class: "grid", x1: 0, x2: WIDTH, y1: share * HEIGHT, y2: share * HEIGHT}));
	return h("figure", {class: "chart"},
		h("figcaption", {}, h("span", {}, label), h("strong", {}, number(last.value))),
		svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
			"aria-label": `${label}: ${number(named[0].value)} at the start, ${number(last.value)} at step ${last.step}`},
		grid, line(other, steps, span, "line other"), line(points, steps, span, "line")),
		h("div", {class: "ends"}, h("span", {}, number(span[0])), h("span", {}, number(span[1]))));
}

// Keeps what came; draws at most once a frame.
export class Charts {
	constructor(place) {
		this.place = place;
		this.points = new Map(); // "phase term" to points
		this.steps = 0;
		this.isDue = false;
	}

	add(metrics) {
		this.steps = metrics.of || Math.max(this.steps, metrics.step);
		for (const [term] of TERMS)
			this.addTo(this.pointsOf(metrics.phase || MAIN, term), metrics.step, metrics[term]);
		if (!this.isDue)
			requestAnimationFrame(() => this.draw());
		this.isDue = true;
	}

	pointsOf(phase, term) {
		const name = `${phase} ${term}`;
		if (!this.points.has(name))
			this.points.set(name, []);
		return this.points.get(name);
	}

	// A worker that went on from a checkpoint repeats steps: the repetition counts.
	addTo(points, step, value) {
		if (typeof value !== "number")
			return;
		while (points.length && points.at(-1).step >= step)
			points.pop();
		points.push({step, value});
	}

	// The comparison is trained first: until the job's own line begins, its last value is the one that is named.
	plotTerm(term, label) {
		const [main, other] = [this.pointsOf(MAIN, term), this.pointsOf(OTHER, term)];
		return plot(main, other, this.steps, label, (main.length ? main : other));
	}

	draw() {
		this.isDue = false;
		const drawn = TERMS.filter(([term]) => this.pointsOf(MAIN, term).length || this.pointsOf(OTHER, term).length);
		const hasOther = TERMS.some(([term]) => this.pointsOf(OTHER, term).length > 0);
		put(this.place, drawn.map(([term, label]) => this.plotTerm(term, label)),
		hasOther ? h("p", {class: "quiet legend"}, "Dashed: trained without the defence, to compare.") : null);
	}
}
