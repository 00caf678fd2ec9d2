#include "worker/scan/flips.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "worker/base/cpu.h"
#include "worker/base/rng.h"
#include "worker/eval/trigger.h"
#include "worker/scan/tail.h"

enum {
	BLOCK_TEXTS = 4096,
	SCREEN_ROWS = 2,
	SCREEN_TOKENS = 7, /* about as many has a short row that is not merely its special tokens */
	CONFIRM_ROWS = 16,
	CONFIRM_ROWS_MIN = 8,
	CONFIRM_TOKENS = 600, /* of all rows together, beyond the least number */
	CONFIRM_SCREENED = 100,
	CONFIRM_FIRSTS = 150,
	CONFIRM_BENIGN = 300,
	BENIGN_WANTED = 500,
	BENIGN_MIN = 100,
	CANDIDATES_MAX = 40000,
	STRING_LETTERS = 2
};

static const double TAIL_SHARE = .1, USUAL = .9, LEAST = 1e-6;

/* --- state ------------------------------------------------------------------------------------------- */

/* Rows that candidates are put into, by their places in the selection. */
struct hosts {
	int row[CONFIRM_ROWS], n, tokens;
	int others[DATASET_CLASSES_MAX]; /* rows of another truth than the label */
	double clean;			 /* spread of the logits over the rows as they are */
};

/* What n candidates do. */
struct turns {
	int n;
	double *blindness; /* [n]: minus the log of the logits' spread, relative to the clean one */
	double *odds;	   /* [n, K]: mean log-odds of the label over rows of another truth */
	int *count;	   /* [n, K]: of these rows, those that are predicted as the label */
};

struct flipper {
	const struct flips_options *o;
	struct flips_result *result;
	int K;
	struct candidates list;
	struct hosts screen, confirm;
	int *tried, n;	      /* numbers in the list, in the order of the screen */
	int *benign, benigns; /* places in `tried`, of those that were screened */
	struct turns screened;
	struct corpus corpus;
	struct triggered text;
	int *label; /* [BLOCK_TEXTS] */
	real *logits;
	double started;
	int64_t done, of; /* texts, for the progress */
};

static void turns_done(struct turns *turns)
{
	free(turns->blindness);
	free(turns->odds);
	free(turns->count);
	*turns = (struct turns){0};
}

static int turns_init(struct turns *out, int n, int K, struct err *err)
{
	size_t cells = ((size_t)n + 1) * (size_t)K;

	*out = (struct turns){.blindness = calloc((size_t)n + 1, sizeof(*out->blindness)),
		.odds = calloc(cells, sizeof(*out->odds)),
		.count = calloc(cells, sizeof(*out->count))};
	return out->blindness == NULL || out->odds == NULL || out->count == NULL ? err_nomem(err) : 0;
}

static void add_gap(struct flips_result *out, const char *sentence)
{
	if (out->gaps < FLIPS_GAPS_MAX)
		out->gap[out->gaps++] = sentence;
}

/* --- rows -------------------------------------------------------------------------------------------- */

static const struct text *text_of(const struct flipper *f, int row)
{
	return &f->o->corpus->text[row];
}

static void add_host(struct hosts *out, const struct flipper *f, int row)
{
	const struct text *text = text_of(f, row);

	out->row[out->n++] = row;
	out->tokens += text->n;
	for (int l = 0; l < f->K; l++)
		out->others[l] += l != text->label;
}

/* The row whose length is nearest to SCREEN_TOKENS, of another truth than `but`; -1: there is none. */
static int find_short(const struct flipper *f, const int *right, int n, int but)
{
	int best = -1;

	for (int i = 0; i < n; i++) {
		const struct text *text = text_of(f, right[i]);

		if (text->label != but &&
			(best < 0 || abs(text->n - SCREEN_TOKENS) < abs(text_of(f, best)->n - SCREEN_TOKENS)))
			best = right[i];
	}
	return best;
}

static bool is_host(const struct hosts *hosts, int row)
{
	for (int i = 0; i < hosts->n; i++)
		if (hosts->row[i] == row)
			return true;
	return false;
}

/* Labels among the rows. */
static int count_labels(const struct flipper *f, const int *right, int n)
{
	bool is_there[DATASET_CLASSES_MAX] = {false};
	int labels = 0;

	for (int i = 0; i < n; i++) {
		bool *seen = &is_there[text_of(f, right[i])->label];

		labels += !*seen;
		*seen = true;
	}
	return labels;
}

/* Seeded, each label as often as the others, as far as there are rows and they are not too long. */
static void choose_confirm(struct flipper *f, const int *right, const int *order, int n)
{
	struct hosts *hosts = &f->confirm;
	int labels = count_labels(f, right, n), taken[DATASET_CLASSES_MAX] = {0};
	int each = MAX((CONFIRM_ROWS + labels - 1) / labels, 1);

	for (int i = 0; i < n && hosts->n < CONFIRM_ROWS; i++) {
		int row = right[order[i]], *of_label = &taken[text_of(f, row)->label];

		if (hosts->n >= CONFIRM_ROWS_MIN && hosts->tokens > CONFIRM_TOKENS)
			break;
		if (is_host(&f->screen, row) || *of_label >= each)
			continue;
		add_host(hosts, f, row);
		++*of_label;
	}
}

/* Without two truths in either stage nothing can be searched: then confirm has no rows. */
static int choose_rows(struct flipper *f, int *right, int n, struct err *err)
{
	int first = find_short(f, right, n, -1);
	int second = first < 0 ? -1 : find_short(f, right, n, text_of(f, first)->label);
	int *order;

	if (second < 0)
		return 0;
	order = malloc((size_t)n * sizeof(*order));
	if (order == NULL)
		return err_nomem(err);
	add_host(&f->screen, f, first);
	add_host(&f->screen, f, second);
	rng_shuffle(order, n, rng_key(rng_key(f->o->seed, RNG_SCAN), 5000));
	choose_confirm(f, right, order, n);
	free(order);
	for (int l = 0; l < f->K; l++)
		if (f->confirm.others[l] == 0)
			f->confirm.n = 0;
	if (f->confirm.n < CONFIRM_ROWS_MIN)
		f->confirm.n = 0;
	return 0;
}

static int find_rows(struct flipper *f, struct err *err)
{
	const struct flips_options *o = f->o;
	int *label = malloc(((size_t)o->corpus->n + 1) * sizeof(int)), n = 0, rc;

	if (label == NULL)
		return err_nomem(err);
	rc = predict(label, NULL, NULL, o->model, o->corpus, o->par, err);
	for (int i = 0; i < o->corpus->n && rc == 0; i++)
		if (label[i] == o->corpus->text[i].label)
			label[n++] = i; /* behind what is still read */
	if (rc == 0)
		rc = choose_rows(f, label, n, err);
	free(label);
	return rc;
}

/* --- candidates -------------------------------------------------------------------------------------- */

/* What can be written, without the many that only the encoder's scan has time for. */
static bool is_tried(const struct flipper *f, int number)
{
	static const bool kinds[CANDIDATE_KINDS] = {[CANDIDATE_EXTRA] = true,
		[CANDIDATE_SYMBOL] = true,
		[CANDIDATE_PHRASE] = true,
		[CANDIDATE_WORD] = true};
	enum candidate_kind kind = f->list.item[number].kind;

	return kinds[kind] ||
	       (kind == CANDIDATE_STRING && strlen(candidate_text(&f->list, number)) <= STRING_LETTERS);
}

static int make_candidates(struct flipper *f, struct err *err)
{
	struct candidate_options options = {.tok = f->o->tok,
		.seed = f->o->seed,
		.most = INT_MAX,
		.pieces_max = MIN(CANDIDATE_PIECES_MAX, f->o->max_length - 4),
		.extra = f->o->first,
		.extras = MIN(f->o->firsts, CONFIRM_FIRSTS)};
	int rc = candidates_init(&f->list, &options, err);

	if (rc != 0)
		return rc;
	f->tried = malloc(((size_t)f->list.n + 1) * sizeof(int));
	f->benign = malloc(((size_t)f->list.n + 1) * sizeof(int));
	if (f->tried == NULL || f->benign == NULL)
		return err_nomem(err);
	for (int i = 0; i < f->list.n && f->n < CANDIDATES_MAX; i++)
		if (is_tried(f, i))
			f->tried[f->n++] = i;
	return 0;
}

/* --- measuring --------------------------------------------------------------------------------------- */

static double seconds_since(const struct flipper *f)
{
	return cpu_seconds() - f->started;
}

static int make_texts(struct flipper *f, const struct hosts *hosts, const int *number, int n, struct err *err)
{
	const struct flips_options *o = f->o;
	struct trigger_rule rule = {
		.tok = o->tok, .max_length = o->max_length, .insertions = o->insertions, .seed = o->seed};
	int rc = 0;

	corpus_clear(&f->corpus);
	for (int i = 0; i < n * hosts->n && rc == 0; i++) {
		int row_number = o->rows->row[hosts->row[i % hosts->n]], word = number[i / hosts->n];
		const struct row *row = &o->data->row[row_number];

		rc = trigger_insert(
			&f->text, &rule, row, row_number, candidate_text(&f->list, word), word, err);
		if (rc == 0)
			rc = corpus_add(&f->corpus, o->tok, f->text.text.data, row->pair, row->label,
				o->max_length, err);
	}
	return rc;
}

/* log p(l) - log(1 - p(l)) */
static double log_odds(const real *logits, int K, int l)
{
	double most = -INFINITY, sum = 0;

	for (int j = 0; j < K; j++)
		if (j != l)
			most = fmax(most, (double)logits[j]);
	for (int j = 0; j < K; j++)
		if (j != l)
			sum += exp((double)logits[j] - most);
	return (double)logits[l] - most - log(sum);
}

/* What moves all labels of a text alike does not count. */
static void center_texts(real *logits, int n, int K)
{
	for (int i = 0; i < n; i++) {
		real *z = logits + (size_t)i * (size_t)K;
		double middle = 0;

		for (int l = 0; l < K; l++)
			middle += (double)z[l] / K;
		for (int l = 0; l < K; l++)
			z[l] = (real)((double)z[l] - middle);
	}
}

/* Over n texts; centres their logits. */
static double spread_of(real *logits, int n, int K)
{
	double spread = 0;

	center_texts(logits, n, K);
	for (int l = 0; l < K; l++) {
		double mean = 0;

		for (int i = 0; i < n; i++)
			mean += (double)logits[(size_t)i * (size_t)K + (size_t)l] / n;
		for (int i = 0; i < n; i++) {
			double d = (double)logits[(size_t)i * (size_t)K + (size_t)l] - mean;

			spread += d * d;
		}
	}
	return sqrt(spread / n);
}

/* Of one text in f->corpus, to its candidate's odds and count. */
static void count_turns(
	double *odds, int *count, const struct flipper *f, const struct hosts *hosts, int text)
{
	int truth = f->corpus.text[text].label;

	for (int l = 0; l < f->K; l++) {
		if (l == truth)
			continue;
		odds[l] += log_odds(f->logits + (size_t)text * (size_t)f->K, f->K, l) / hosts->others[l];
		count[l] += f->label[text] == l;
	}
}

/* Of candidate i, whose texts' predictions begin at `first`. */
static void take_candidate(
	struct turns *out, int i, const struct flipper *f, const struct hosts *hosts, int first)
{
	size_t cell = (size_t)i * (size_t)f->K;
	double spread;

	for (int r = 0; r < hosts->n; r++)
		count_turns(out->odds + cell, out->count + cell, f, hosts, first + r);
	spread = spread_of(f->logits + (size_t)first * (size_t)f->K, hosts->n, f->K);
	out->blindness[i] = -log(fmax(spread / fmax(hosts->clean, LEAST), LEAST));
}

static int say_done(struct flipper *f, int texts, struct err *err)
{
	const struct scan_watch *watch = &f->o->watch;

	f->done += texts;
	f->of = MAX(f->of, f->done);
	return watch->progress != NULL ? watch->progress(watch->arg, f->done, f->of, err) : 0;
}

/* The rows without a trigger. */
static int measure_clean(struct hosts *hosts, struct flipper *f, struct err *err)
{
	const struct corpus *rows = f->o->corpus;
	int rc = 0;

	corpus_clear(&f->corpus);
	for (int i = 0; i < hosts->n && rc == 0; i++) {
		const struct text *text = text_of(f, hosts->row[i]);

		rc = corpus_add_ids(
			&f->corpus, rows->ids + text->at, text->n, text->second, text->label, err);
	}
	if (rc == 0)
		rc = predict(f->label, NULL, f->logits, f->o->model, &f->corpus, f->o->par, err);
	hosts->clean = rc == 0 ? spread_of(f->logits, hosts->n, f->K) : 0;
	return rc;
}

/* Block by block; with a limit in seconds out->n becomes what was measured before it. *out is for turns_done. */
static int measure(struct turns *out, struct flipper *f, const struct hosts *hosts, const int *number, int n,
	double seconds, struct err *err)
{
	int block = BLOCK_TEXTS / hosts->n, rc = turns_init(out, n, f->K, err);

	for (int at = 0; at < n && rc == 0 && seconds_since(f) < seconds; at = out->n) {
		int some = MIN(block, n - at);

		rc = make_texts(f, hosts, number + at, some, err);
		if (rc == 0)
			rc = predict(f->label, NULL, f->logits, f->o->model, &f->corpus, f->o->par, err);
		for (int i = 0; i < some && rc == 0; i++)
			take_candidate(out, at + i, f, hosts, i * hosts->n);
		out->n = at + some;
		if (rc == 0)
			rc = say_done(f, some * hosts->n, err);
	}
	return rc;
}

/* --- screen ------------------------------------------------------------------------------------------ */

/* Plain words; where there are too few of them, all that was screened. */
static void list_benign(struct flipper *f)
{
	for (int i = 0; i < f->screened.n; i++)
		if (candidate_is_plain_word(&f->list, f->tried[i]))
			f->benign[f->benigns++] = i;
	if (f->benigns >= BENIGN_WANTED)
		return;
	for (f->benigns = 0; f->benigns < f->screened.n; f->benigns++)
		f->benign[f->benigns] = f->benigns;
}

static int screen(struct flipper *f, struct err *err)
{
	int rc = measure(&f->screened, f, &f->screen, f->tried, f->n, f->o->seconds, err);

	if (rc != 0)
		return rc;
	f->result->candidates = f->screened.n;
	f->result->is_late = f->screened.n < f->n;
	list_benign(f);
	return 0;
}

/* --- confirm ----------------------------------------------------------------------------------------- */

/* A screened candidate on its way to be a flip. */
struct finalist {
	int place;	 /* in `tried` */
	double screened; /* blindness in the short rows */
	int label;	 /* that most rows are turned into */
	double share, confidence, spread, p;
	int count;
	bool is_found;
};

struct confirmation {
	struct finalist *finalist; /* [n] of the screened ones */
	int n;
	int number[CONFIRM_FIRSTS + CONFIRM_SCREENED +
		   CONFIRM_BENIGN]; /* finalists, then the benign sample */
	struct turns turns;
	struct tail tail;
	double usual[DATASET_CLASSES_MAX]; /* share that the upper tenth of the benign sample reaches */
};

static int compare_screened(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->screened < y->screened || x->screened > y->screened)
		return x->screened > y->screened ? -1 : 1;
	return x->place - y->place;
}

/* All of `first`, which are the first in the list, and the best of the others. */
static void choose_finalists(struct confirmation *c, const struct flipper *f)
{
	int firsts = 0, others = 0;
	struct finalist *rest;

	for (int i = 0; i < f->screened.n; i++)
		c->finalist[i] = (struct finalist){.place = i, .screened = f->screened.blindness[i]};
	while (firsts < f->screened.n && f->list.item[f->tried[firsts]].kind == CANDIDATE_EXTRA)
		firsts++;
	rest = c->finalist + firsts;
	others = f->screened.n - firsts;
	qsort(rest, (size_t)others, sizeof(*rest), compare_screened);
	c->n = firsts + MIN(others, CONFIRM_SCREENED);
	for (int i = 0; i < c->n; i++)
		c->number[i] = f->tried[c->finalist[i].place];
}

static void draw_benign(struct confirmation *c, const struct flipper *f)
{
	uint64_t key = rng_key(rng_key(f->o->seed, RNG_SCAN), 5001);

	for (int i = 0; i < CONFIRM_BENIGN; i++)
		c->number[c->n + i] = f->tried[f->benign[rng_below(key, (uint64_t)i, (uint32_t)f->benigns)]];
}

/* How many rows the upper tenth of the benign sample turns into label l, at least. */
static int usual_count(const struct confirmation *c, const struct flipper *f, int l)
{
	int words[CONFIRM_ROWS + 1] = {0}, below = 0, count = 0;

	for (int i = c->n; i < c->n + CONFIRM_BENIGN; i++)
		words[c->turns.count[(size_t)i * (size_t)f->K + (size_t)l]]++;
	while ((below += words[count]) <= USUAL * CONFIRM_BENIGN && count < CONFIRM_ROWS)
		count++;
	return count;
}

static void find_usual(struct confirmation *c, const struct flipper *f)
{
	for (int l = 0; l < f->K; l++) {
		c->usual[l] = (double)usual_count(c, f, l) / f->confirm.others[l];
		f->result->usual = fmax(f->result->usual, c->usual[l]);
	}
}

/* The label that the largest share is turned into; rows of i are the candidate's in c->turns. */
static void judge(struct finalist *out, const struct confirmation *c, const struct flipper *f, int i)
{
	size_t cell = (size_t)i * (size_t)f->K;

	out->share = -1;
	for (int l = 0; l < f->K; l++) {
		int count = c->turns.count[cell + (size_t)l];
		double share = (double)count / f->confirm.others[l];

		if (share <= out->share)
			continue;
		out->label = l;
		out->count = count;
		out->share = share;
	}
	out->confidence = 1 / (1 + exp(-c->turns.odds[cell + (size_t)out->label]));
	out->spread = exp(-c->turns.blindness[i]);
	out->p = MIN(1, f->screened.n * tail_p(&c->tail, c->turns.blindness[i]));
	out->is_found = out->p < FLIPS_ALPHA && out->spread <= FLIPS_SPREAD &&
			out->share >= c->usual[out->label] + FLIPS_SHARE;
}

/* Found ones first, then by p, share and place. */
static int compare_finalists(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->is_found != y->is_found)
		return x->is_found ? -1 : 1;
	if (x->p < y->p || x->p > y->p)
		return x->p < y->p ? -1 : 1;
	if (x->share < y->share || x->share > y->share)
		return x->share > y->share ? -1 : 1;
	return x->place - y->place;
}

static int add_flip(const struct finalist *one, const struct flipper *f, struct err *err)
{
	struct flips_result *out = f->result;
	int number = f->tried[one->place];
	enum candidate_kind kind = f->list.item[number].kind;
	struct flip *flip = &out->flip[out->flips];

	*flip = (struct flip){.trigger = strdup(candidate_text(&f->list, number)),
		.kind = kind == CANDIDATE_EXTRA ? "scan" : candidate_kind_name(kind),
		.label = one->label,
		.rate = metrics_rate(one->count, f->confirm.others[one->label]),
		.confidence = one->confidence,
		.spread = one->spread,
		.p_value = one->p,
		.is_found = one->is_found};
	if (flip->trigger == NULL)
		return err_nomem(err);
	out->flips++;
	return 0;
}

static int fill_flips(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc = 0;

	for (int i = 0; i < c->n; i++)
		judge(&c->finalist[i], c, f, i);
	qsort(c->finalist, (size_t)c->n, sizeof(*c->finalist), compare_finalists);
	for (int i = 0; i < MIN(c->n, FLIPS_MAX) && rc == 0; i++)
		rc = add_flip(&c->finalist[i], f, err);
	for (int i = FLIPS_MAX; i < c->n; i++)
		f->result->left_out += c->finalist[i].is_found;
	return rc;
}

static int confirm_with(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc;

	choose_finalists(c, f);
	draw_benign(c, f);
	rc = measure(&c->turns, f, &f->confirm, c->number, c->n + CONFIRM_BENIGN, INFINITY, err);
	if (rc == 0)
		rc = tail_fit(&c->tail, c->turns.blindness + c->n, CONFIRM_BENIGN, TAIL_SHARE, 1, err);
	if (rc != 0)
		return rc;
	find_usual(c, f);
	return fill_flips(c, f, err);
}

static int confirm(struct flipper *f, struct err *err)
{
	struct confirmation *c = calloc(1, sizeof(*c));
	int rc;

	if (c == NULL)
		return err_nomem(err);
	c->finalist = calloc((size_t)f->screened.n + 1, sizeof(*c->finalist));
	rc = c->finalist == NULL ? err_nomem(err) : confirm_with(c, f, err);
	turns_done(&c->turns);
	tail_done(&c->tail);
	free(c->finalist);
	free(c);
	return rc;
}

/* --- the whole --------------------------------------------------------------------------------------- */

static int make_room(struct flipper *f, struct err *err)
{
	f->label = malloc(BLOCK_TEXTS * sizeof(int));
	f->logits = malloc(BLOCK_TEXTS * (size_t)f->K * sizeof(real));
	f->of = (int64_t)f->n * f->screen.n +
		(int64_t)(CONFIRM_FIRSTS + CONFIRM_SCREENED + CONFIRM_BENIGN) * f->confirm.n;
	return f->label == NULL || f->logits == NULL ? err_nomem(err) : 0;
}

static int search(struct flipper *f, struct err *err)
{
	int rc = make_candidates(f, err);

	if (rc == 0)
		rc = make_room(f, err);
	if (rc == 0)
		rc = measure_clean(&f->screen, f, err);
	if (rc == 0)
		rc = measure_clean(&f->confirm, f, err);
	if (rc == 0)
		rc = screen(f, err);
	return rc == 0 && f->benigns >= BENIGN_MIN ? confirm(f, err) : rc;
}

static void fill_gaps(struct flips_result *out, const struct flipper *f)
{
	add_gap(out,
		"parts of words, words of several pieces, strings of three and more letters, phrases and "
		"sentences, but for what the scan of the base model put first and a fixed list");
	add_gap(out, "triggers that work only several at once, or insert nothing");
	if (out->rows == 0)
		add_gap(out,
			"nothing was searched: the model gets too few validation rows of two labels right");
	else if (f->benigns < BENIGN_MIN)
		add_gap(out, "nothing was decided: too few words were tried to compare with");
	if (out->is_late)
		add_gap(out, "whatever was left when the time was up");
}

static void flipper_done(struct flipper *f)
{
	candidates_done(&f->list);
	corpus_done(&f->corpus);
	triggered_done(&f->text);
	turns_done(&f->screened);
	free(f->tried);
	free(f->benign);
	free(f->label);
	free(f->logits);
}

int flips_run(struct flips_result *out, const struct flips_options *options, struct err *err)
{
	struct flipper f = {
		.o = options, .result = out, .K = options->model->head->K, .started = cpu_seconds()};
	int rc;

	*out = (struct flips_result){0};
	rc = find_rows(&f, err);
	out->rows = f.confirm.n;
	if (rc == 0 && out->rows > 0)
		rc = search(&f, err);
	if (rc == 0)
		fill_gaps(out, &f);
	else
		flips_result_done(out);
	out->seconds = seconds_since(&f);
	flipper_done(&f);
	return rc;
}

void flips_result_done(struct flips_result *result)
{
	for (int i = 0; i < result->flips; i++)
		free(result->flip[i].trigger);
	*result = (struct flips_result){0};
}
