// view_scans: the list of scans and the form for another one.
import {get, post} from "./api.js";
import {badge} from "./badge.js";
import {announce, h, notice, put} from "./dom.js";
import {time} from "./format.js";

const PAGE = 100;
const REFRESH_MS = 5000;

function row(scan) {
	return h("tr", {},
		h("th", {scope: "row"}, h("a", {href: `#/scans/${encodeURIComponent(scan.id)}`}, scan.id)),
		h("td", {}, badge(scan.status)), h("td", {}, h("code", {}, scan.model)), h("td", {}, time(scan.created_at)));
}

function table(scans) {
	const heads = ["Scan", "State", "Model", "Submitted"].map((text) => h("th", {scope: "col"}, text));
	return h("div", {class: "card scroll"}, h("table", {},
		h("caption", {class: "unseen"}, "Scans, newest first"),
		h("thead", {}, h("tr", {}, heads)), h("tbody", {}, scans.map(row))));
}

function field(name, label, input) {
	return h("div", {class: "field"}, h("label", {for: `s-${name}`}, label), input);
}

function formView(submit) {
	return h("form", {class: "card", submit}, h("h2", {}, "Scan a model"),
		h("p", {class: "quiet"}, "Searches a base model for words that make it blind to the text. It needs no data set; ",
			"models come with a job's upload or through the API."),
		h("div", {class: "fields"},
			field("model", "Model", h("select", {id: "s-model", name: "model", required: true},
				h("option", {value: ""}, "choose"))),
			field("seconds", "Most seconds", h("input", {id: "s-seconds", name: "seconds", type: "number", min: 1,
				max: 86400, value: 900})),
			field("extra", "Words of yours, one a line", h("textarea", {id: "s-extra", name: "extra", rows: 3}))),
		h("button", {type: "submit", class: "main"}, "Scan"));
}

function requestOf(form) {
	const extra = form.elements.extra.value.split("\n").map((line) => line.trim()).filter(Boolean);
	return {model: form.elements.model.value, budget: {seconds: Number(form.elements.seconds.value)},
		extra: [...new Set(extra)]};
}

async function onSubmit(event) {
	event.preventDefault();
	const button = event.currentTarget.querySelector("button");
	button.disabled = true;
	try {
		const scan = await post("v1/scans", requestOf(event.currentTarget));
		announce("Scan submitted");
		location.hash = `#/scans/${encodeURIComponent(scan.id)}`;
	} catch (error) {
		notice(error);
	} finally {
		button.disabled = false;
	}
}

async function fillModels(form, signal) {
	const page = await get(`v1/models?limit=${PAGE}`, signal);
	const models = page.data.filter((model) => model.id.startsWith("model-"));
	form.elements.model.append(...models.map((model) => h("option", {value: model.id}, model.id)));
}

export async function showScans(main, signal) {
	const list = h("div", {"aria-busy": "true"});
	const form = formView(onSubmit);
	put(main, h("div", {class: "head"}, h("h1", {}, "Scans")), form, list);
	const refresh = async () => {
		const {data} = await get(`v1/scans?limit=${PAGE}`, signal);
		put(list, data.length ? table(data) : h("div", {class: "card empty"}, h("p", {}, "No scan yet.")));
		list.removeAttribute("aria-busy");
	};
	await Promise.all([refresh(), fillModels(form, signal)]);
	const timer = setInterval(() => document.hidden || list.contains(document.activeElement) || refresh().catch(() => {}),
		REFRESH_MS);
	signal.addEventListener("abort", () => clearInterval(timer));
}
