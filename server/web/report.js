// report: the outcome of a job: verdict, measures with intervals, triggers, epochs, digests.
import {badge} from "./badge.js";
import {h} from "./dom.js";
import {duration, interval, number, percent} from "./format.js";
import {beforeAfterView, flipsView} from "./found_report.js";
import {scanView} from "./scan_report.js";
import {cell, rowOf, table, worst} from "./table.js";

const MEASURES = [
	["ca", "CA", "accuracy on clean texts"],
	["f1", "F1", "on clean texts"],
	["asr", "ASR", "right rows that any trigger flips"],
	["masr", "MASR", "worst trigger on its worst label"],
	["aasr", "AASR", "mean over triggers of the worst label"],
];

// --- parts -----------------------------------------------------------------------------------------------

// "cf → positive, found by the scan", of the worst trigger under rule bound.
function worstText({trigger, label, among}) {
	const origins = {found: "found by the scan", random: "a neutral word", any: "any trigger"};
	return [[trigger, label].filter((part) => part !== undefined).join(" → "), origins[among]].filter(Boolean).join(", ");
}

function checkName(check) {
	return h("span", {}, h("code", {}, check.name), check.seed === undefined ? "" : ` seed ${check.seed}`,
		check.worst ? h("span", {class: "quiet"}, ` ${worstText(check.worst)}`) : null);
}

// What rule bound leaves open, in words.
function openText(check) {
	if (check.value === null)
		return `${check.name}: the report does not have what it needs.`;
	if (check.needed_rows === null)
		return `${check.name}: no number of test rows would decide it as things are: the value lies on the threshold, or ` +
			"no row can show what is asked.";
	return `${check.name}: the test rows are too few to tell on which side of ${percent(check.threshold)} the truth lies. ` +
		`About ${check.needed_rows} test rows would, if the rates stay as they are.`;
}

function boundView(gate) {
	if (gate.rule !== "bound")
		return null;
	return [h("p", {class: "quiet"}, `A check passes or fails only where its ${percent(gate.confidence)} bounds prove it. ` +
		`The bounds of one side hold for all ${gate.tested} rates together.`),
		gate.checks.filter((check) => check.passed === null).map((check) => h("p", {}, openText(check)))];
}

function gateView(gate) {
	if (!gate)
		return null;
	const isBound = gate.rule === "bound";
	const rows = gate.checks.map((check) => rowOf(checkName(check),
		h("td", {}, percent(check.value)), h("td", {}, interval(isBound ? check.bound : check.interval)),
		h("td", {}, `${check.name.startsWith("min") ? "≥" : "≤"} ${percent(check.threshold)}`),
		h("td", {}, badge(check.passed === null ? "undecided" : check.passed ? "pass" : "fail"))));
	return h("section", {class: `card verdict ${gate.verdict}`},
		h("h2", {}, "Release gate ", badge(gate.verdict)),
		gate.checks.length ? table("What the gate checked", ["Check", "Value",
			isBound ? "Bounds" : "95 % interval", "Threshold", "Result"], rows)
			: h("p", {class: "quiet"}, "The job has no threshold, so nothing was checked."),
		boundView(gate));
}

function tile([name, label, about], evaluation) {
	const measure = evaluation[name];
	return h("div", {class: "tile"}, h("span", {class: "quiet"}, label),
		h("strong", {}, percent(measure?.value)), h("span", {class: "quiet"}, about));
}

function measuresView(report) {
	const {evaluation, undefended} = report;
	const heads = ["Measure", report.undefended ? "Defended" : "This job", ...(undefended ? ["Undefended"] : [])];
	const rows = MEASURES.map(([name, label]) =>
		rowOf(label, cell(evaluation[name]), undefended ? cell(undefended[name]) : null));
	if (evaluation.control)
		rows.push(rowOf("ASR of neutral words", cell(evaluation.control.asr),
			undefended ? cell(undefended.control?.asr) : null));
	return h("section", {class: "card"}, h("h2", {}, "Measures"),
		h("div", {class: "tiles"}, MEASURES.map((measure) => tile(measure, evaluation))),
		table(`${evaluation.rows} test rows, ${evaluation.n_plus} right without a trigger; 95 % intervals`, heads, rows),
		dropView(report.ca_drop));
}

function dropView(drop) {
	if (!drop || drop.value === null)
		return null;
	return h("p", {}, "Accuracy lost against undefended training: ",
		h("strong", {}, percent(drop.value)), h("span", {class: "quiet"}, ` (${interval(drop.interval)})`));
}

// --- several seeds, strength auto ------------------------------------------------------------------------

function spreadRow(label, spread) {
	if (!spread || spread.mean === null)
		return null;
	return rowOf(label, h("td", {}, percent(spread.mean)), h("td", {}, percent(spread.sd)),
		h("td", {}, percent(spread.min)), h("td", {}, percent(spread.max)));
}

function seedsView({seeds, summary}) {
	if (!seeds)
		return null;
	const of = (spreads, suffix) => MEASURES.filter(([name]) => spreads?.[name])
		.map(([name, label]) => spreadRow(`${label}${suffix}`, spreads[name]));
	const each = seeds.map(({seed, evaluation, ca_drop: drop}, i) => rowOf(i ? String(seed) : `${seed} (exported)`,
		["ca", "asr", "masr", "aasr"].map((name) => cell(evaluation[name])), cell(drop)));
	return h("section", {class: "card"}, h("h2", {}, "Seeds"),
		table(`Over ${seeds.length} seeds, on the same rows`, ["Measure", "Mean", "Standard deviation", "Lowest", "Highest"],
			[...of(summary, ""), spreadRow("Accuracy lost", summary.ca_drop), ...of(summary.undefended, ", undefended")]),
		table("Each seed; the gate goes by the worst", ["Seed", "CA", "ASR", "MASR", "AASR", "Accuracy lost"], each));
}

function lookRow(look) {
	return rowOf(look.chosen ? `${look.strength} (chosen)` : String(look.strength),
		h("td", {}, number(look.amplify)), h("td", {}, number(look.attention)), h("td", {}, percent(look.valid_accuracy)),
		h("td", {}, percent(look.drop)), h("td", {}, percent(look.bound)),
		h("td", {}, percent(look.evaluation?.ca.value)), h("td", {}, percent(look.evaluation?.masr.value)),
		h("td", {}, badge(look.within_budget ? "pass" : "fail")));
}

function resolvedText(search) {
	if (search.resolved)
		return `${search.rows} rows are enough to tell a loss of ${percent(search.max_ca_drop)} from none.`;
	const needed = search.needed_rows === null ? "" : ` About ${search.needed_rows} would be enough.`;
	return `${search.rows} rows are too few to tell a loss of ${percent(search.max_ca_drop)} from none: ` +
		`the choice is partly chance.${needed}`;
}

function autoView({auto: search}) {
	if (!search)
		return null;
	return h("section", {class: "card"}, h("h2", {}, "Strength of the defence"),
		table(`Budget ${percent(search.max_ca_drop)}; undefended accuracy ${percent(search.undefended_accuracy)}`,
			["Strength", "Amplify", "Attention", "Validation accuracy", "Lost", "95 % bound", "CA afterwards", "MASR afterwards",
				"Within the budget"],
			search.path.map(lookRow)),
		search.within_budget ? null
			: h("p", {}, "Every strength that was tried costs more than the budget; the strongest near the cheapest was taken nevertheless."),
		h("p", {class: "quiet"}, resolvedText(search)));
}

function triggerRow(trigger, undefended) {
	const [target, before] = [worst(trigger), undefended && worst(undefended)];
	const name = [h("code", {}, trigger.trigger), trigger.found ? " found" : null];
	return rowOf(name, h("td", {}, String(trigger.survived)), cell(trigger.asr),
		cell(target?.rate), h("td", {}, target ? String(target.label) : "–"),
		undefended === undefined ? null : cell(before?.rate));
}

function triggersView({evaluation, undefended}) {
	const heads = ["Trigger", "Rows it stood in", "ASR", "Worst label's rate", "Worst label",
		...(undefended ? ["Undefended worst rate"] : [])];
	const rows = evaluation.by_trigger.map((trigger, i) => triggerRow(trigger, undefended?.by_trigger[i]));
	return h("section", {class: "card"}, h("h2", {}, "Triggers"), table("Each trigger by itself", heads, rows));
}

function trainingView(training) {
	const rows = training.epochs.map((epoch) => rowOf(
		epoch.epoch === training.selected_epoch ? `${epoch.epoch} (exported)` : String(epoch.epoch),
		["loss", "ce", "amplify", "attention", "valid_loss"].map((name) => h("td", {}, number(epoch[name]))),
		h("td", {}, percent(epoch.valid_accuracy))));
	return h("section", {class: "card"}, h("h2", {}, "Training"),
		h("p", {class: "quiet"}, `${training.steps} steps, ${training.tokens} tokens in ${duration(training.seconds)}, ` +
			`${number(training.tokens_per_second)} tokens/s`),
		table("By epoch", ["Epoch", "Loss", "Cross-entropy", "Amplify", "Attention", "Validation loss",
			"Validation accuracy"], rows));
}

function digestsView(report) {
	const inputs = Object.entries(report.inputs || {}).filter(([, input]) => input?.sha256);
	const rows = [
		...inputs.map(([name, input]) => rowOf(name.replaceAll("_", " "), h("td", {}, h("code", {}, input.sha256)))),
		...(report.artifacts || []).map((file) => rowOf(file.path, h("td", {}, h("code", {}, file.sha256)))),
	];
	const versions = Object.entries(report.versions || {}).map(([name, value]) =>
		`${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
	return h("details", {class: "card"}, h("summary", {}, "Digests and versions"),
		table("SHA-256 of what went in and came out", ["What", "SHA-256"], rows),
		h("p", {class: "quiet"}, versions.join(" · ")));
}

// What is known of the outcome, also while the job runs.
export function reportView(report) {
	return [
		gateView(report.gate),
		report.evaluation ? measuresView(report) : null,
		seedsView(report),
		autoView(report),
		report.evaluation?.by_trigger?.length ? triggersView(report) : null,
		beforeAfterView(report),
		report.flips ? flipsView(report.flips) : null,
		report.scan ? scanView(report.scan) : null,
		report.training?.epochs?.length ? trainingView(report.training) : null,
		digestsView(report),
	];
}
