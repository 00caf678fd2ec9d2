// badge: a state or verdict as a coloured word; the word says it, the colour helps.
import {h} from "./dom.js";

const LOOKS = {
	queued: "idle", validating_files: "busy", running: "busy", paused: "idle",
	succeeded: "good", failed: "bad", cancelled: "idle",
	pass: "good", fail: "bad", undecided: "warn", clean: "good", suspicious: "bad",
};

export function badge(word) {
	return h("span", {class: `badge ${LOOKS[word] || "idle"}`}, String(word).replaceAll("_", " "));
}

export const FINISHED = ["succeeded", "failed", "cancelled"];
