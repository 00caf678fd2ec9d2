// view_scan: one scan: how far it is, then what it found.
import {get, post, stream} from "./api.js";
import {FINISHED, badge} from "./badge.js";
import {announce, h, notice, put} from "./dom.js";
import {duration, time} from "./format.js";
import {scanView} from "./scan_report.js";

const RETRY_MS = 3000;

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
		put(this.outcome, scanView(await get(`${this.path}/report`, this.signal)));
	}
}

export async function showScan(main, signal, id) {
	await new ScanView(main, signal, id).show();
}
