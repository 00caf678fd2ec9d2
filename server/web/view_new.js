// view_new: the form of a new job. Uploads what was chosen from disk, submits, and goes to the job.
import {get, post, upload} from "./api.js";
import {announce, clearNotice, h, notice, put} from "./dom.js";
import {GROUPS, clearErrors, followPeft, groupView, readGroups, showError} from "./fields.js";
import {bytes} from "./format.js";

const PAGE = 100;

// --- choosing: from what the service has, or from disk ---------------------------------------------------

const DATA_SET = {kind: "file", list: `v1/files?purpose=fine-tune&limit=${PAGE}`, keep: () => true,
	name: (file) => `${file.filename} · ${bytes(file.bytes)}`};

const INPUTS = [
	{path: "model", label: "Suspect model", kind: "model", list: `v1/models?limit=${PAGE}`,
		about: "A directory with config.json, weights and tokenizer, as transformers saves it.",
		keep: (model) => model.id.startsWith("model-"), name: (model) => `${model.id} · ${model.files.length} files`},
	{path: "training_file", label: "Training data", ...DATA_SET,
		about: ".jsonl, .csv or .tsv with a column for the text and one for the label."},
	{path: "validation_file", label: "Validation data", optional: true, ...DATA_SET,
		about: "Without it a tenth of the training data."},
	{path: "test_file", label: "Test data", optional: true, ...DATA_SET,
		about: "Without it a fifth of the training data."},
];

function picker(id, kind) {
	if (kind === "file")
		return [h("label", {for: `${id}-disk`}, "from this computer"),
			h("input", {id: `${id}-disk`, type: "file", accept: ".jsonl,.csv,.tsv"})];
	return [h("label", {for: `${id}-disk`}, "a directory of this computer"),
		h("input", {id: `${id}-disk`, type: "file", webkitdirectory: true, multiple: true}),
		h("label", {for: `${id}-files`}, "or single files of it"),
		h("input", {id: `${id}-files`, type: "file", multiple: true})];
}

function inputView(input) {
	const id = `f-${input.path}`;
	const first = h("option", {value: ""}, input.optional ? "none" : "choose");
	return h("fieldset", {class: "card"}, h("legend", {}, input.label), h("p", {class: "quiet"}, input.about),
		h("div", {class: "fields"},
			h("div", {class: "field"}, h("label", {for: id}, "known to the service"),
				h("select", {id, name: input.path, "aria-describedby": `${id}-error`}, first),
				h("p", {class: "wrong", id: `${id}-error`})),
			h("div", {class: "field"}, picker(id, input.kind))),
		h("div", {class: "upload", id: `${id}-upload`}));
}

async function fillChoices(input, signal) {
	const page = await get(input.list, signal);
	const options = page.data.filter(input.keep).map((object) => h("option", {value: object.id}, input.name(object)));
	document.getElementById(`f-${input.path}`)?.append(...options);
}

function chosenFiles(input) {
	const lists = ["disk", "files"].map((part) => document.getElementById(`f-${input.path}-${part}`)?.files || []);
	return lists.flatMap((list) => [...list]);
}

// --- uploading -------------------------------------------------------------------------------------------

// The browser puts the chosen directory's own name in front.
function relativeName(file) {
	return file.webkitRelativePath ? file.webkitRelativePath.split("/").slice(1).join("/") : file.name;
}

function formOf(input, files) {
	const form = new FormData();
	if (input.kind === "file") {
		form.append("purpose", "fine-tune");
		form.append("file", files[0]);
	} else {
		files.forEach((file) => form.append("files", file, relativeName(file)));
	}
	return form;
}

async function send(input, files) {
	const bar = h("progress", {max: 1, value: 0, "aria-label": `Upload: ${input.label}`});
	const text = h("span", {class: "quiet"}, "uploading");
	put(document.getElementById(`f-${input.path}-upload`), bar, text);
	announce(`Uploading: ${input.label}`);
	const path = input.kind === "file" ? "v1/files" : "v1/models";
	const object = await upload(path, formOf(input, files), (sent, all) => {
		bar.value = all ? sent / all : 0;
		text.textContent = sent < all ? `${bytes(sent)} of ${bytes(all)}` : "sent, being checked";
	});
	text.textContent = `uploaded as ${object.id}`;
	return object.id;
}

// The id of what was chosen, after uploading it where it lies on disk; then it is known to the service.
async function idFor(form, input) {
	const files = chosenFiles(input);
	const select = form.elements[input.path];
	if (files.length === 0)
		return select.value || null;
	const id = await send(input, files);
	if (![...select.options].some((option) => option.value === id))
		select.append(h("option", {value: id}, id));
	select.value = id;
	for (const part of ["disk", "files"]) {
		const field = document.getElementById(`f-${input.path}-${part}`);
		if (field)
			field.value = "";
	}
	return id;
}

async function buildRequest(form) {
	const request = readGroups(form);
	for (const input of INPUTS) {
		const id = await idFor(form, input);
		if (id !== null)
			request[input.path] = id;
		else if (!input.optional)
			throw {message: "choose one, or a file of this computer", param: input.path};
	}
	return request;
}

// --- submitting ------------------------------------------------------------------------------------------

// Pressed again after a lost answer, the same request makes no second job.
function makeKeeper() {
	let sent = "", key = "";
	return (request) => {
		const text = JSON.stringify(request);
		if (text !== sent) {
			const bytes = crypto.getRandomValues(new Uint8Array(16));
			[sent, key] = [text, Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")];
		}
		return {headers: {"Idempotency-Key": `page-${key}`}, forget: () => { sent = ""; }};
	};
}

function showProblem(form, error) {
	if (!showError(form, error))
		notice(error);
}

async function submit(form, keyFor) {
	const request = await buildRequest(form);
	const once = keyFor(request);
	try {
		const job = await post("v1/fine_tuning/jobs", request, once.headers);
		announce("Job submitted");
		location.hash = `#/jobs/${encodeURIComponent(job.id)}`;
	} catch (error) {
		if (error.status)
			once.forget();
		throw error;
	}
}

function onSubmit(keyFor) {
	return async (event) => {
		event.preventDefault();
		const form = event.currentTarget;
		const button = form.querySelector("button[type=submit]");
		clearNotice();
		clearErrors(form);
		button.disabled = true;
		try {
			await submit(form, keyFor);
		} catch (error) {
			showProblem(form, error);
		} finally {
			button.disabled = false;
		}
	};
}

// The browser points at a field that it finds wrong only where it can be seen.
function openWrong(event) {
	for (const details of event.currentTarget.form.querySelectorAll("details:has(:invalid)"))
		details.open = true;
}

export async function showNew(main, signal) {
	const group = (title) => groupView(GROUPS.find((one) => one.title === title));
	const form = h("form", {class: "new", submit: onSubmit(makeKeeper()), change: () => followPeft(form)},
		h("div", {class: "pair"}, INPUTS.slice(0, 2).map(inputView)),
		h("div", {class: "pair"}, ["Defence", "Release gate"].map(group)),
		h("details", {}, h("summary", {}, "Training, evaluation, columns and further data"),
			h("div", {class: "pair"}, ["Training", "Evaluation", "PEFT", "Result", "Columns and name"].map(group),
				INPUTS.slice(2).map(inputView))),
		h("button", {type: "submit", class: "main", click: openWrong}, "Submit the job"));
	followPeft(form);
	put(main, h("div", {class: "head"}, h("h1", {}, "New job")), form);
	await Promise.all(INPUTS.map((input) => fillChoices(input, signal)));
}
