// format: numbers and times as people read them; "–" where nothing is known.

const NOTHING = "–";

function isNumber(value) {
	return typeof value === "number" && Number.isFinite(value);
}

export function percent(value) {
	return isNumber(value) ? `${(100 * value).toFixed(1)} %` : NOTHING;
}

// As percent, without its sign: for two values that share one.
function tenths(value) {
	return (100 * value).toFixed(1);
}

export function interval(pair) {
	return Array.isArray(pair) ? `${tenths(pair[0])} – ${tenths(pair[1])} %` : NOTHING;
}

// "12 of 300", where a rate has counts.
export function counts(rate) {
	return isNumber(rate.total) ? `${rate.count} of ${rate.total}` : "";
}

export function number(value, digits = 4) {
	return isNumber(value) ? String(Number(value.toPrecision(digits))) : NOTHING;
}

export function duration(seconds) {
	if (!isNumber(seconds))
		return NOTHING;
	if (seconds < 10)
		return `${seconds.toFixed(1)} s`;
	const whole = Math.round(seconds);
	const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
	if (hours > 0)
		return `${hours} h ${minutes} min`;
	return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function time(seconds) {
	return isNumber(seconds) ? new Date(1000 * seconds).toLocaleString() : NOTHING;
}

export function bytes(count) {
	const units = ["B", "KB", "MB", "GB"];
	let unit = 0;
	for (; count >= 1000 && unit < units.length - 1; unit++)
		count /= 1000;
	return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}
