// view_scan: one scan: how far it is, then what it found.
import {get, post, stream} from "./api.js";
import {FINISHED, badge} from "./badge.js";
import {announce, h, notice, put} from "./dom.js";
import {duration, number, time} from "./format.js";
import {clusterClass, scatter} from "./scatter.js";

const RETRY_MS = 3000;
const SHOWN = 60; // suspects in the table before "all"

const SENTENCES = {
	clean: "Nothing of what was tried stands out.",
	suspicious: "These words make the model blind to the text around them.",
	undecided: "Nothing was decided.",
};

// --- the report ------------------------------------------------------------------------------------------

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

function reportView(report) {
	return [verdictView(report), report.histogram ? scatter(report) : null,
		report.suspects.length ? suspectTable(report.suspects) : null,
		report.not_searched ? gapsView(report.not_searched) : null];
}

// --- the view --------------------------------------------------------------------------------------------

class ScanView {
	constructor(main, signal, id) {
		this.signal = signal;
		this.path = `v1/scans/${encodeURIComponent(id)}`;
		this.head = h("div", {class: "head"});
		this.facts = h("section", {class: "card"});
		this.bar = h("progress", {max: 1, "aria-label": "Progress"});
		this.left = h("span", {class: "quiet"});
		this.progress = h("section", {class: "card progress", hidden: true}, this.bar, this.left);
		this.outcome = h("div", {class: "outcome"});
		put(main, this.head, this.facts, this.progress, this.outcome);
	}

	get isFinished() {
		return FINISHED.includes(this.scan.status);
	}

	async refresh() {
		const before = this.scan?.status;
		this.scan = await get(this.path, this.signal);
		if (before === this.scan.status)
			return;
		this.draw();
		if (before !== undefined)
			announce(`The scan is ${this.scan.status}`);
		this.progress.hidden = this.isFinished;
	}

	draw() {
		const {id, model, status, error, created_at: created, finished_at: finished, extra} = this.scan;
		const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
		const cancel = h("button", {type: "button", class: "danger", click: () => this.cancel()}, "Cancel");
		put(this.head, h("h1", {}, "Scan ", badge(status)), this.isFinished ? null : cancel);
		put(this.facts, error ? h("div", {class: "notice"}, h("p", {}, h("strong", {}, error.code), ` ${error.message}`)) : null,
			h("dl", {}, fact("Scan", h("code", {}, id)), fact("Model", h("code", {}, model)),
				extra.length ? fact("Words of yours", extra.join(", ")) : [],
				fact("Submitted", time(created)), fact("Finished", time(finished))));
	}

	async cancel() {
		try {
			await post(`${this.path}/cancel`);
			await this.refresh();
		} catch (error) {
			notice(error);
		}
	}

	take({data}) {
		if (!data?.of)
			return;
		this.bar.value = data.step / data.of;
		this.left.textContent = `${data.step} of ${data.of} texts, ${duration(data.eta_s)} left`;
	}

	async follow() {
		let last = "";
		while (!this.signal.aborted && !this.isFinished) {
			try {
				for await (const event of stream(`${this.path}/events`, last, this.signal)) {
					last = event.id || last;
					this.take(event.data);
				}
			} catch (error) {
				if (error.name === "AbortError" || (error.status >= 400 && error.status < 500))
					throw error;
				await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
			}
			await this.refresh();
		}
	}

	async show() {
		await this.refresh();
		this.progress.hidden = this.isFinished;
		await this.follow();
		put(this.outcome, reportView(await get(`${this.path}/report`, this.signal)));
	}
}

export async function showScan(main, signal, id) {
	await new ScanView(main, signal, id).show();
}
