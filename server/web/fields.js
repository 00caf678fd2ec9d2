// fields: what the form of a new job asks for. One table; a field's path is its place in the request, so that an
// error's `param` finds its field. Defaults are those of the service, which checks everything again. `of`: PEFT types
// that a field belongs to; `presets`: its default by PEFT type, `informed`: a quarter of it in that mode.
import {h} from "./dom.js";

const unit = {type: "number", min: 0, max: 1, step: "any"};
const weight = {type: "number", min: 0, max: 1000, step: "any"};
const count = {type: "number", min: 1, step: 1};

const TYPE = "peft.type";
const MODE = "defense.mode";

export const GROUPS = [
	{title: "Training", fields: [
		{path: "hyperparameters.n_epochs", label: "Epochs", ...count, max: 1000, value: 6},
		{path: "hyperparameters.learning_rate", label: "Learning rate", type: "number", min: 0, max: 1, step: "any",
			value: 0.001},
		{path: "hyperparameters.batch_size", label: "Batch size", ...count, max: 1024, value: 16},
		{path: "hyperparameters.max_length", label: "Longest text, tokens", ...count, min: 8, max: 4096, value: 128},
		{path: "hyperparameters.max_train_rows", label: "Training rows at most", ...count, value: 6000},
		{path: "hyperparameters.max_eval_rows", label: "Evaluation rows at most", ...count, value: 2000},
		{path: "hyperparameters.select", label: "Epoch to export", choices: ["last", "best"], value: "last"},
		{path: "seed", label: "Seed", type: "number", min: 0, step: 1, value: 0},
		{path: "seeds", label: "Several seeds", type: "text", numbers: true,
			hint: "In place of one: trains once for each, 0 1 2. The first is exported."},
	]},
	{title: "PEFT", fields: [
		{path: TYPE, label: "Method", choices: ["lora", "adapter", "prefix"], value: "lora"},
		{path: "peft.r", label: "Rank", ...count, max: 512, value: 16, of: ["lora"]},
		{path: "peft.alpha", label: "Alpha", ...count, value: 16, of: ["lora"]},
		{path: "peft.bottleneck", label: "Bottleneck", ...count, max: 4096, of: ["adapter"],
			hint: "Empty: a sixteenth of the hidden size."},
		{path: "peft.length", label: "Virtual tokens", ...count, max: 256, value: 30, of: ["prefix"]},
		{path: "peft.mlp_width", label: "Width of the MLP", ...count, max: 4096, value: 256, of: ["prefix"]},
		{path: "peft.activation", label: "Activation", choices: ["", "silu", "gelu", "relu", "tanh"], value: "",
			of: ["adapter", "prefix"], hint: "Empty: silu for adapters, tanh for prefixes."},
		{path: "peft.init_from", label: "Job to repair", type: "text",
			hint: "Starts from the adapter of a job that succeeded, of the same model and method. Empty: from scratch."},
	]},
	{title: "Defence", toggle: {path: "defense", label: "Train with the defence", value: true}, fields: [
		{path: MODE, label: "Strength", choices: ["fixed", "auto", "informed"], value: "fixed",
			hint: "Auto finds the strongest multiple of the two weights that accuracy allows; trains five times. "
				+ "Informed scans the model and an undefended run, and trains with what it finds."},
		{path: "defense.amplify", label: "Amplify", ...weight, value: 0.01,
			presets: {lora: 0.01, adapter: 0.003, prefix: 0.1}, informed: true,
			hint: "Weight of the term that enlarges the adapter."},
		{path: "defense.attention", label: "Attention", ...weight, value: 0.3,
			presets: {lora: 0.3, adapter: 0.03, prefix: 0.1}, informed: true,
			hint: "Weight of the term that calms the first token's attention."},
		{path: "defense.ramp", label: "Rise", ...unit, value: 0.3, presets: {lora: 0.3, adapter: 0.3, prefix: 0.5},
			hint: "Share of the steps over which both weights rise from 0."},
		{path: "defense.max_ca_drop", label: "Accuracy to give up", ...unit, value: 0.01, hint: "Of strength auto."},
		{path: "defense.withhold", label: "Share not taught", ...unit, value: 0,
			hint: "Of strength informed: found triggers kept from training, to see what it does to triggers that nobody found."},
	]},
	{title: "Evaluation", fields: [
		{path: "evaluation.triggers", label: "Triggers", type: "text", words: true, value: "cf mn tq qt mm pt",
			hint: "Words, separated by blanks; phrases by commas."},
		{path: "evaluation.control", label: "Also try neutral words", check: true, value: true},
		{path: "evaluation.compare_undefended", label: "Compare with undefended training", check: true, value: false,
			hint: "Trains twice."},
		{path: "evaluation.scan", label: "Scan the model for triggers", check: true, value: false,
			hint: "And what was trained for words that flip predictions; what is found is tried as well. Takes minutes."},
	]},
	{title: "Release gate", about: "Empty: not checked. No threshold at all: no verdict.", fields: [
		{path: "gate.max_masr", label: "Highest MASR", ...unit, hint: "Worst trigger on worst label, 0 to 1."},
		{path: "gate.max_asr", label: "Highest ASR", ...unit, hint: "Any trigger, 0 to 1."},
		{path: "gate.max_ca_drop", label: "Highest loss of accuracy", ...unit, hint: "Against undefended training."},
		{path: "gate.min_ca", label: "Lowest accuracy", ...unit},
		{path: "gate.rule", label: "Rule", choices: ["point", "bound"], value: "point",
			hint: "Point compares what was measured; bound passes only what the rows prove with 95 % confidence."},
	]},
	{title: "Result", fields: [
		{path: "export.merged", label: "Also a merged model", check: true, value: false, of: ["lora"],
			hint: "A whole model that needs no adapter."},
	]},
	{title: "Columns and name", fields: [
		{path: "data.text_column", label: "Text column", type: "text", value: "text"},
		{path: "data.pair_column", label: "Second text column", type: "text", hint: "For pairs of texts."},
		{path: "data.label_column", label: "Label column", type: "text", value: "label"},
		{path: "suffix", label: "Name of the result", type: "text", maxlength: 64},
	]},
];

function idOf(path) {
	return `f-${path.replaceAll(".", "-")}`;
}

function control(field) {
	const id = idOf(field.path);
	const {type, min, max, step, value, maxlength} = field;
	const described = `${id}-hint ${id}-error`;
	if (field.check)
		return h("input", {id, name: field.path, type: "checkbox", checked: value, "aria-describedby": described});
	if (field.choices)
		return h("select", {id, name: field.path, "aria-describedby": described},
			field.choices.map((choice) => h("option", {value: choice, selected: choice === value}, choice)));
	return h("input", {id, name: field.path, type, min, max, step, maxlength, value, "aria-describedby": described,
		autocomplete: "off"});
}

function fieldView(field) {
	const id = idOf(field.path);
	return h("div", {class: field.check ? "field check" : "field"},
		h("label", {for: id}, field.label), control(field),
		h("p", {class: "hint", id: `${id}-hint`}, field.hint), h("p", {class: "wrong", id: `${id}-error`}));
}

export function groupView(group) {
	const toggle = group.toggle ? fieldView({...group.toggle, check: true}) : null;
	return h("fieldset", {class: "card"}, h("legend", {}, group.title),
		group.about ? h("p", {class: "quiet"}, group.about) : null, toggle,
		h("div", {class: "fields"}, group.fields.map(fieldView)));
}

function isFor(field, type) {
	return !field.of || field.of.includes(type);
}

const INFORMED_STRENGTH = 0.25;

function presetOf(field, type, mode) {
	return field.presets[type] * (field.informed && mode === "informed" ? INFORMED_STRENGTH : 1);
}

function isPreset(field, value) {
	return Object.keys(field.presets).some((type) => ["fixed", "informed"].some((mode) => presetOf(field, type, mode) === value));
}

// Shows the fields of the chosen PEFT; defaults that hang on it and on the mode follow, where nobody changed them.
export function followPeft(form) {
	const type = form.elements[TYPE].value;
	for (const field of GROUPS.flatMap((group) => group.fields)) {
		const input = form.elements[field.path];
		input.closest(".field").hidden = !isFor(field, type);
		input.disabled = !isFor(field, type);
		if (field.presets && isPreset(field, Number(input.value)))
			input.value = presetOf(field, type, form.elements[MODE].value);
	}
}

// "cf, two words" by commas where there is one, else by blanks.
function splitWords(text) {
	return text.split(text.includes(",") ? "," : /\s+/).map((word) => word.trim()).filter(Boolean);
}

// undefined: leave it to the service.
function valueOf(form, field) {
	const input = form.elements[field.path];
	const text = input.value.trim();
	if (field.check)
		return input.checked;
	if (text === "")
		return undefined;
	if (field.words)
		return splitWords(text);
	if (field.numbers)
		return splitWords(text).map(Number);
	return field.type === "number" ? Number(text) : text;
}

function setPath(request, path, value) {
	const parts = path.split(".");
	const last = parts.pop();
	let place = request;
	for (const part of parts)
		place = place[part] ??= {};
	place[last] = value;
}

// A rule alone is no gate.
function dropEmptyGate(request) {
	if (Object.keys(request.gate).every((name) => name === "rule"))
		delete request.gate;
}

// The request without model and files. The gate's loss of accuracy needs the comparison, strength auto has it anyway, and informed
// the scan as well.
export function readGroups(form) {
	const request = {};
	for (const group of GROUPS) {
		if (group.toggle && !form.elements[group.toggle.path].checked) {
			request[group.toggle.path] = null;
			continue;
		}
		for (const field of group.fields) {
			const value = isFor(field, form.elements[TYPE].value) ? valueOf(form, field) : undefined;
			if (value !== undefined)
				setPath(request, field.path, value);
		}
	}
	dropEmptyGate(request);
	const mode = request.defense?.mode;
	if (request.gate?.max_ca_drop !== undefined || mode === "auto" || mode === "informed")
		request.evaluation.compare_undefended = true;
	if (mode === "informed")
		request.evaluation.scan = true;
	if (request.seeds)
		delete request.seed;
	return request;
}

export function clearErrors(form) {
	for (const input of form.querySelectorAll("[aria-invalid]")) {
		input.removeAttribute("aria-invalid");
		document.getElementById(`${input.id}-error`).textContent = "";
	}
}

// Shows the error at its field; false when there is none for it. "evaluation.triggers[2]" is the field's too.
export function showError(form, error) {
	const input = form.elements[(error.param || "").replace(/\[.*$/, "")];
	const place = input && document.getElementById(`${input.id}-error`);
	if (!place)
		return false;
	input.setAttribute("aria-invalid", "true");
	input.closest("details")?.setAttribute("open", "");
	place.textContent = error.message;
	input.focus();
	return true;
}
