// app: which view is shown (by the address's hash), and the API key.
import {getKey, setKey} from "./api.js";
import {clearNotice, notice, put} from "./dom.js";
import {showJob} from "./view_job.js";
import {showJobs} from "./view_jobs.js";
import {showNew} from "./view_new.js";
import {showScan} from "./view_scan.js";
import {showScans} from "./view_scans.js";

// Each view fills `main` and stops what it started when `signal` aborts.
const VIEWS = [
	[/^#\/new$/, showNew, "New job"],
	[/^#\/jobs\/([^/]+)$/, showJob, "Job"],
	[/^#\/scans\/([^/]+)$/, showScan, "Scan"],
	[/^#\/scans$/, showScans, "Scans"],
	[/^(#\/jobs)?$/, showJobs, "Jobs"],
];

const main = document.getElementById("main");
const keyField = document.getElementById("key");
let leaving = new AbortController();

function report(error) {
	if (error.name === "AbortError")
		return;
	notice(error);
	if (error.status === 401)
		keyField.focus();
}

function markCurrent() {
	for (const link of document.querySelectorAll("header nav a"))
		link.setAttribute("aria-current", link.getAttribute("href") === (location.hash || "#/jobs") ? "page" : "false");
}

async function show() {
	leaving.abort();
	leaving = new AbortController();
	clearNotice();
	markCurrent();
	const [pattern, view, title] = VIEWS.find(([pattern]) => pattern.test(location.hash)) || VIEWS.at(-1);
	const id = pattern.exec(location.hash)?.[1];
	document.title = `${title} · Obliviate`;
	put(main);
	try {
		await view(main, leaving.signal, id && decodeURIComponent(id));
	} catch (error) {
		report(error);
	}
}

function useKey(event) {
	event.preventDefault();
	setKey(keyField.value);
	show();
}

// The hash is the router's, so the link may not change it.
function skip(event) {
	event.preventDefault();
	main.focus();
}

keyField.value = getKey();
document.querySelector(".skip").addEventListener("click", skip);
document.getElementById("key-form").addEventListener("submit", useKey);
window.addEventListener("hashchange", show);
window.addEventListener("unhandledrejection", (event) => report(event.reason));
show();
