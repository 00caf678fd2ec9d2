// view_job: one job: its state, its events as they come, its report and its adapter.
import {download, get, getText, post, stream} from "./api.js";
import {FINISHED, badge} from "./badge.js";
import {Charts} from "./chart.js";
import {announce, h, notice, put} from "./dom.js";
import {duration, number, time} from "./format.js";
import {reportView} from "./report.js";

const MESSAGES_MAX = 200;
const RETRY_MS = 3000;
const REPORT_MS = 10000; // a running job's report grows with each epoch

const PHASES = {
	validate: "Reading model and data", scan: "Scanning the model for triggers", undefended: "Training without the defence, to compare",
	search: "Searching: strengths of the defence, or what flips the undefended model", train: "Training",
	flips: "Searching for words that flip predictions", evaluate: "Trying triggers", export: "Writing the adapter",
};

class JobView {
	constructor(main, signal, id) {
		this.signal = signal;
		this.id = id;
		this.path = `v1/fine_tuning/jobs/${encodeURIComponent(id)}`;
		this.job = null;
		this.head = h("div", {class: "head"});
		this.facts = h("section", {class: "card"});
		this.progress = h("section", {class: "card progress", hidden: true});
		this.chartPlace = h("div", {class: "charts"});
		this.charts = new Charts(this.chartPlace);
		this.outcome = h("div", {class: "outcome"});
		this.messages = h("ol", {class: "messages", tabindex: 0, "aria-label": "Events"});
		put(main, this.head, this.facts, this.progress, this.chartPlace, this.outcome, this.messagesView());
	}

	messagesView() {
		return h("details", {class: "card"}, h("summary", {}, "Events and settings"), this.messages,
			this.settings = h("pre", {tabindex: 0, "aria-label": "Settings"}));
	}

	get isFinished() {
		return FINISHED.includes(this.job.status);
	}

	// --- the job -------------------------------------------------------------------------------------

	async refresh() {
		const before = this.job?.status;
		this.job = await get(this.path, this.signal);
		if (before === this.job.status)
			return; // a button that is drawn again would lose the focus
		this.drawHead();
		this.drawFacts();
		if (before !== undefined)
			announce(`The job is ${this.job.status}`);
		if (this.isFinished)
			this.progress.hidden = true;
	}

	drawHead() {
		const button = (text, action, look) =>
			h("button", {type: "button", class: look, click: () => this.run(action)}, text);
		const succeeded = this.job.status === "succeeded";
		put(this.head, h("h1", {}, this.job.suffix || "Job", " ", badge(this.job.status)), h("div", {class: "buttons"},
			this.isFinished ? null : button("Cancel", () => this.cancel(), "danger"),
			button("Log", () => this.showLog(), ""),
			succeeded && this.job.export?.merged
				? button("Download merged model", () => this.fetchArchive("merged", "The merged model"), "") : null,
			succeeded ? button("Download adapter", () => this.fetchArchive("adapter", "The adapter"), "main") : null));
	}

	drawFacts() {
		const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
		const {defense, error} = this.job;
		put(this.facts, error ? this.errorView(error) : null, h("dl", {},
			fact("Job", h("code", {}, this.job.id)), fact("Model", h("code", {}, this.job.model)),
			fact("Data", h("code", {}, this.job.training_file)),
			fact("Defence", defense ? `${defense.mode}: amplify ${defense.amplify}, attention ${defense.attention}` : "none"),
			this.job.seeds ? fact("Seeds", this.job.seeds.join(", ")) : [],
			fact("Submitted", time(this.job.created_at)), fact("Finished", time(this.job.finished_at)),
			this.job.fine_tuned_model ? fact("Result", h("code", {}, this.job.fine_tuned_model)) : []));
		this.settings.textContent = JSON.stringify(this.job, null, 2);
	}

	errorView(error) {
		return h("div", {class: "notice"}, h("p", {}, h("strong", {}, error.code), ` ${error.message}`,
			error.param ? h("code", {}, ` ${error.param}`) : null));
	}

	// --- what the buttons do -------------------------------------------------------------------------

	async run(action) {
		try {
			await action();
		} catch (error) {
			notice(error);
		}
	}

	async cancel() {
		await post(`${this.path}/cancel`);
		await this.refresh();
	}

	async fetchArchive(name, title) {
		await download(`${this.path}/${name}`, `${this.id}-${name}.zip`);
		announce(`${title} was downloaded`);
	}

	async showLog() {
		const text = await getText(`${this.path}/log`, this.signal);
		const dialog = h("dialog", {class: "card", close: () => dialog.remove()},
			h("form", {method: "dialog", class: "head"}, h("h2", {}, "Worker's log"), h("button", {}, "Close")),
			h("pre", {tabindex: 0}, text || "Nothing yet."));
		document.body.append(dialog);
		dialog.showModal();
	}

	// --- events --------------------------------------------------------------------------------------

	async follow() {
		let last = "";
		while (!this.signal.aborted) {
			try {
				for await (const event of stream(`${this.path}/events`, last, this.signal)) {
					last = event.id || last;
					this.take(event.data);
				}
				await this.refresh();
				if (this.isFinished)
					break;
			} catch (error) {
				if (error.name === "AbortError" || (error.status >= 400 && error.status < 500))
					throw error;
			}
			await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
		}
		await this.loadReport();
	}

	take(event) {
		if (event.type !== "metrics")
			this.takeMessage(event);
		else if (typeof event.data?.of === "number")
			this.takeStep(event.data);
	}

	takeStep(metrics) {
		this.charts.add(metrics);
		this.drawProgress(metrics);
	}

	takeMessage(event) {
		this.messages.append(h("li", {class: event.level}, h("time", {}, time(event.created_at)), ` ${event.message}`));
		while (this.messages.children.length > MESSAGES_MAX)
			this.messages.firstChild.remove();
		if (event.data?.phase)
			this.drawPhase(event.data.phase);
		this.refreshSoon();
	}

	// Many messages at once (a replay) mean one look at the job.
	refreshSoon() {
		clearTimeout(this.soon);
		this.soon = setTimeout(() => this.signal.aborted || this.refresh().catch(() => {}), 300);
	}

	// A phase whose length nobody knows, until its first step comes.
	drawPhase(phase) {
		const bar = h("progress", {"aria-label": "Progress"});
		put(this.progress, h("p", {}, PHASES[phase] || phase), bar);
		this.progress.hidden = this.isFinished;
	}

	drawProgress({phase, step, of, epoch, tokens_per_second: speed, eta_s: left}) {
		put(this.progress, h("p", {}, `${PHASES[phase] || "Training"}: step ${step} of ${of}`),
			h("progress", {"aria-label": "Progress", max: of, value: step}),
			h("p", {class: "quiet"}, `Epoch ${epoch} · ${number(speed)} tokens/s · ${duration(left)} left`));
		this.progress.hidden = this.isFinished;
	}

	// --- report --------------------------------------------------------------------------------------

	async loadReport() {
		put(this.outcome, reportView(await get(`${this.path}/report`, this.signal)));
	}
}

export async function showJob(main, signal, id) {
	const view = new JobView(main, signal, id);
	await view.refresh();
	await view.loadReport();
	const timer = setInterval(() => view.isFinished || view.loadReport().catch(() => {}), REPORT_MS);
	signal.addEventListener("abort", () => clearInterval(timer));
	await view.follow();
}
