// api: the service's HTTP interface. Every call carries the key; every refusal becomes an ApiError.

const KEY = "obliviate_api_key"; // in sessionStorage: gone with the tab

export class ApiError extends Error {
	constructor(status, {message, code, param}) {
		super(message || `HTTP ${status}`);
		this.status = status;
		this.code = code;
		this.param = param;
	}
}

export function getKey() {
	return sessionStorage.getItem(KEY) || "";
}

export function setKey(key) {
	sessionStorage.setItem(KEY, key.trim());
}

function keyHeader() {
	return getKey() ? {Authorization: `Bearer ${getKey()}`} : {};
}

// The error object of an answer's text, or what can be said without one.
function refusal(status, text) {
	try {
		return new ApiError(status, JSON.parse(text).error);
	} catch {
		return new ApiError(status, {message: `the service answered ${status}`});
	}
}

async function send(method, path, options = {}) {
	const headers = {...keyHeader(), ...options.headers};
	let answer;
	try {
		answer = await fetch(path, {...options, method, headers, cache: "no-store"});
	} catch (error) {
		if (error.name === "AbortError")
			throw error;
		throw new ApiError(0, {message: "the service does not answer"});
	}
	if (!answer.ok)
		throw refusal(answer.status, await answer.text());
	return answer;
}

export async function get(path, signal) {
	return (await send("GET", path, {signal})).json();
}

export async function getText(path, signal) {
	return (await send("GET", path, {signal})).text();
}

export async function post(path, body, headers = {}) {
	const json = body === undefined ? {} : {"Content-Type": "application/json"};
	return (await send("POST", path, {body: body && JSON.stringify(body), headers: {...json, ...headers}})).json();
}

// A multipart POST; onProgress gets (bytes sent, bytes in all). fetch can't tell progress, XMLHttpRequest can.
export function upload(path, form, onProgress) {
	return new Promise((resolve, reject) => {
		const request = new XMLHttpRequest();
		request.open("POST", path);
		for (const [name, value] of Object.entries(keyHeader()))
			request.setRequestHeader(name, value);
		request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
		request.onerror = () => reject(new ApiError(0, {message: "the upload was interrupted"}));
		request.onload = () => {
			if (request.status >= 200 && request.status < 300)
				resolve(JSON.parse(request.responseText));
			else
				reject(refusal(request.status, request.responseText));
		};
		request.send(form);
	});
}

// Into the browser's downloads. A link can't carry the key, so the bytes come through fetch.
export async function download(path, filename) {
	const url = URL.createObjectURL(await (await send("GET", path)).blob());
	const link = document.createElement("a");
	link.href = url;
	link.download = filename;
	document.body.append(link);
	link.click();
	link.remove();
	setTimeout(() => URL.revokeObjectURL(url), 60000);
}

// One block of an event stream: {id, data}, or null for a comment.
function parseBlock(block) {
	const event = {id: null, data: ""};
	for (const line of block.split("\n")) {
		const [, field, value] = /^([a-z]+): ?(.*)$/.exec(line) || [];
		if (field === "id")
			event.id = value;
		else if (field === "data")
			event.data += value;
	}
	return event.data ? {id: event.id, data: JSON.parse(event.data)} : null;
}

// The events of a stream as they come, from the one after `last`. EventSource can't carry the key.
export async function* stream(path, last, signal) {
	const headers = {Accept: "text/event-stream", ...(last ? {"Last-Event-ID": last} : {})};
	const answer = await send("GET", path, {headers, signal});
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	let text = "";
	for (;;) {
		const {value, done} = await reader.read();
		if (done)
			return;
		const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
		text = blocks.pop();
		yield* blocks.map(parseBlock).filter((event) => event !== null);
	}
}
