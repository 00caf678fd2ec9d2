// view_jobs: the list of jobs, newest first, looked at again every few seconds.
import {get} from "./api.js";
import {h, put} from "./dom.js";
import {time} from "./format.js";
import {badge} from "./badge.js";

const REFRESH_MS = 5000;
const PAGE = 50;

function row(job) {
	const defended = job.defense ? "defended" : "undefended";
	return h("tr", {},
		h("th", {scope: "row"}, h("a", {href: `#/jobs/${encodeURIComponent(job.id)}`}, job.id)),
		h("td", {}, badge(job.status)),
		h("td", {}, job.suffix || h("span", {class: "quiet"}, defended)),
		h("td", {}, h("code", {}, job.model)),
		h("td", {}, time(job.created_at)));
}

function table(jobs) {
	const heads = ["Job", "State", "Name", "Model", "Submitted"].map((text) => h("th", {scope: "col"}, text));
	return h("div", {class: "card scroll"}, h("table", {},
		h("caption", {class: "unseen"}, "Jobs, newest first"),
		h("thead", {}, h("tr", {}, heads)), h("tbody", {}, jobs.map(row))));
}

function nothing() {
	return h("div", {class: "card empty"}, h("p", {}, "No job yet."),
		h("a", {class: "button main", href: "#/new"}, "Submit the first"));
}

// As many pages as the reader asked for.
async function load(count, signal) {
	const jobs = [];
	for (let after = "", more = true; more && jobs.length < count;) {
		const page = await get(`v1/fine_tuning/jobs?limit=${PAGE}${after && `&after=${encodeURIComponent(after)}`}`, signal);
		jobs.push(...page.data);
		[after, more] = [page.last_id, page.has_more];
		if (!more)
			return {jobs, more};
	}
	return {jobs, more: true};
}

export async function showJobs(main, signal) {
	let count = PAGE;
	const list = h("div", {"aria-busy": "true"});
	const create = h("a", {class: "button main", href: "#/new"}, "New job");
	put(main, h("div", {class: "head"}, h("h1", {}, "Jobs"), create), list);

	const refresh = async () => {
		const {jobs, more} = await load(count, signal);
		const next = h("button", {type: "button", click: () => { count += PAGE; refresh(); }}, "Older jobs");
		put(list, jobs.length ? table(jobs) : nothing(), more ? next : null);
		list.removeAttribute("aria-busy");
	};
	await refresh();
	const timer = setInterval(() => document.hidden || hasFocusIn(list) || refresh().catch(() => {}), REFRESH_MS);
	signal.addEventListener("abort", () => clearInterval(timer));
}

// A row that is replaced while it has the focus would lose it.
function hasFocusIn(element) {
	return element.contains(document.activeElement);
}
