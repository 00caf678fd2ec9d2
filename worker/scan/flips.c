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
	CONFIRM_TOKENS = 600,  /* of all rows together, beyond the least number */
	CONFIRM_SCREENED = 60, /* of each size */
	CONFIRM_FIRSTS = 100,
	CONFIRM_BENIGN = 120, /* of each size */
	PIECES_MAX = 6,
	BENIGN_WANTED = 500,
	BENIGN_MIN = 100,
	CANDIDATES_MAX = 40000,
	STRING_LETTERS = 2
};

/* What has several pieces takes more of a short text's place than a word, and is compared with the like. */
enum size { ONE_PIECE, SEVERAL_PIECES, SIZES };

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
	double *hold;	   /* [n]: least log-odds of any row, of the label for which that is largest */
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
	free(turns->hold);
	free(turns->odds);
	free(turns->count);
	*turns = (struct turns){0};
}

static int turns_init(struct turns *out, int n, int K, struct err *err)
{
	size_t cells = ((size_t)n + 1) * (size_t)K;

	*out = (struct turns){.blindness = calloc((size_t)n + 1, sizeof(double)),
		.hold = calloc((size_t)n + 1, sizeof(double)),
		.odds = calloc(cells, sizeof(double)),
		.count = calloc(cells, sizeof(int))};
	return out->blindness == NULL || out->hold == NULL || out->odds == NULL || out->count == NULL
		       ? err_nomem(err)
		       : 0;
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
		.pieces_max = MIN(PIECES_MAX, f->o->max_length - 4),
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

/* Of one label, over the texts from `first` on, to the candidate's odds and count; returns the least log-odds. */
static double take_label(
	double *odds, int *count, const struct flipper *f, const struct hosts *hosts, int first, int l)
{
	double least = INFINITY;

	for (int text = first; text < first + hosts->n; text++) {
		double here = log_odds(f->logits + (size_t)text * (size_t)f->K, f->K, l);

		least = fmin(least, here);
		if (f->corpus.text[text].label == l)
			continue;
		*odds += here / hosts->others[l];
		*count += f->label[text] == l;
	}
	return least;
}

/* Of candidate i, whose texts' predictions begin at `first`. */
static void take_candidate(
	struct turns *out, int i, const struct flipper *f, const struct hosts *hosts, int first)
{
	size_t cell = (size_t)i * (size_t)f->K;
	double spread;

	out->hold[i] = -INFINITY;
	for (int l = 0; l < f->K; l++, cell++)
		out->hold[i] = fmax(
			out->hold[i], take_label(&out->odds[cell], &out->count[cell], f, hosts, first, l));
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
	int number;	 /* in the list */
	double screened; /* what holds in the short rows */
	int label;	 /* that most rows are turned into */
	double share, confidence, spread, p;
	int count;
	bool is_found, is_covered; /* it contains another one that is found */
};

struct confirmation {
	struct finalist *finalist; /* [n] of the screened ones */
	int n;
	int number[CONFIRM_FIRSTS + SIZES * (CONFIRM_SCREENED + CONFIRM_BENIGN)]; /* and the benign samples */
	struct turns turns;
	struct tail tail[SIZES];
	double usual[SIZES]
		    [DATASET_CLASSES_MAX]; /* share that the upper tenth of a sample turns into a label */
};

static enum size size_of(const struct flipper *f, int number)
{
	return f->list.item[number].n == 1 ? ONE_PIECE : SEVERAL_PIECES;
}

/* What turns all rows to one label with most confidence first. */
static int compare_screened(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->screened < y->screened || x->screened > y->screened)
		return x->screened > y->screened ? -1 : 1;
	return x->number - y->number;
}

/* All of `first`, and of the others the best of each size. */
static void choose_finalists(struct confirmation *c, const struct flipper *f)
{
	struct finalist *all = c->finalist;
	int taken[SIZES] = {0};

	for (int i = 0; i < f->screened.n; i++)
		all[i] = (struct finalist){.number = f->tried[i], .screened = f->screened.hold[i]};
	qsort(all, (size_t)f->screened.n, sizeof(*all), compare_screened);
	for (int i = 0; i < f->screened.n; i++) {
		int number = all[i].number;
		bool is_first = f->list.item[number].kind == CANDIDATE_EXTRA;

		if (!is_first && taken[size_of(f, number)]++ >= CONFIRM_SCREENED)
			continue;
		c->number[c->n] = number;
		all[c->n++] = all[i];
	}
}

/* --- benign samples ---------------------------------------------------------------------------------- */

static int draw_word(const struct flipper *f, uint64_t key, int i)
{
	return f->tried[f->benign[rng_below(key, (uint64_t)i, (uint32_t)f->benigns)]];
}

/* So many benign words, joined: their number in the list, or a negative error. */
static int draw_phrase(struct flipper *f, uint64_t key, int words, struct err *err)
{
	struct buf text = {0}, scratch = {0};
	struct ids ids = {0};
	int rc = 0;

	for (int i = 0; i < words; i++) {
		buf_str(&text, i > 0 ? " " : "");
		buf_str(&text, candidate_text(&f->list, draw_word(f, key, i)));
	}
	if (text.failed)
		rc = err_nomem(err);
	if (rc == 0)
		rc = candidates_pieces(&ids, &scratch, f->o->tok, text.data, err);
	if (rc == 0)
		rc = candidates_join(&f->list, text.data, ids.id, ids.n, err);
	ids_done(&ids);
	buf_done(&scratch);
	buf_done(&text);
	return rc;
}

/* Where a size's sample begins in c->number and c->turns. */
static int sample_at(const struct confirmation *c, int size)
{
	return c->n + size * CONFIRM_BENIGN;
}

/* Pieces of those finalists that have several, in their order; returns how many. */
static int list_pieces(int *pieces, const struct confirmation *c, const struct flipper *f)
{
	int n = 0;

	for (int i = 0; i < c->n; i++)
		if (size_of(f, c->number[i]) == SEVERAL_PIECES)
			pieces[n++] = f->list.item[c->number[i]].n;
	return n;
}

/* Words for one piece; for several, phrases as long as the finalists are, in turns. */
static int draw_benign(struct confirmation *c, struct flipper *f, struct err *err)
{
	uint64_t key = rng_key(rng_key(f->o->seed, RNG_SCAN), 5001);
	int pieces[CONFIRM_FIRSTS + SIZES * CONFIRM_SCREENED] = {2}, n = MAX(list_pieces(pieces, c, f), 1),
					    rc = 0;

	for (int i = 0; i < CONFIRM_BENIGN && rc >= 0; i++) {
		c->number[sample_at(c, ONE_PIECE) + i] = draw_word(f, key, i);
		rc = draw_phrase(f, rng_key(key, (uint64_t)i), pieces[i % n], err);
		c->number[sample_at(c, SEVERAL_PIECES) + i] = rc;
	}
	return MIN(rc, 0);
}

/* How many rows the upper tenth of a size's sample turns into label l, at least. */
static int usual_count(const struct confirmation *c, const struct flipper *f, int size, int l)
{
	int words[CONFIRM_ROWS + 1] = {0}, below = 0, count = 0, at = sample_at(c, size);

	for (int i = at; i < at + CONFIRM_BENIGN; i++)
		words[c->turns.count[(size_t)i * (size_t)f->K + (size_t)l]]++;
	while ((below += words[count]) <= USUAL * CONFIRM_BENIGN && count < CONFIRM_ROWS)
		count++;
	return count;
}

static int calibrate(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc = 0;

	for (int size = 0; size < SIZES && rc == 0; size++) {
		for (int l = 0; l < f->K; l++)
			c->usual[size][l] = (double)usual_count(c, f, size, l) / f->confirm.others[l];
		rc = tail_fit(&c->tail[size], c->turns.blindness + sample_at(c, size), CONFIRM_BENIGN,
			TAIL_SHARE, 1, err);
	}
	for (int l = 0; l < f->K; l++)
		f->result->usual = fmax(f->result->usual, c->usual[ONE_PIECE][l]);
	return rc;
}

/* --- the verdict ------------------------------------------------------------------------------------- */

/* The label that the largest share is turned into. */
static void find_label(struct finalist *out, const struct confirmation *c, const struct flipper *f, int i)
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
}

static void judge(struct finalist *out, const struct confirmation *c, const struct flipper *f, int i)
{
	enum size size = size_of(f, out->number);

	find_label(out, c, f, i);
	out->spread = exp(-c->turns.blindness[i]);
	out->p = MIN(1, f->screened.n * tail_p(&c->tail[size], c->turns.blindness[i]));
	out->is_found = out->p < FLIPS_ALPHA && out->spread <= FLIPS_SPREAD &&
			out->share >= c->usual[size][out->label] + FLIPS_SHARE;
}

/* Has a, which is longer, all ids of b side by side? */
static bool contains(const struct candidates *list, int a, int b)
{
	int n = list->item[b].n;

	for (int at = 0; at + n <= list->item[a].n && n < list->item[a].n; at++)
		if (memcmp(candidate_ids(list, a) + at, candidate_ids(list, b),
			    (size_t)n * sizeof(int32_t)) == 0)
			return true;
	return false;
}

static void cover(struct confirmation *c, const struct flipper *f)
{
	for (int i = 0; i < c->n; i++)
		for (int j = 0; j < c->n; j++)
			if (c->finalist[j].is_found &&
				contains(&f->list, c->finalist[i].number, c->finalist[j].number))
				c->finalist[i].is_covered = true;
}

/* Covered ones last, found ones first, then by p, share and number. */
static int compare_finalists(const void *a, const void *b)
{
	const struct finalist *x = a, *y = b;

	if (x->is_covered != y->is_covered)
		return x->is_covered ? 1 : -1;
	if (x->is_found != y->is_found)
		return x->is_found ? -1 : 1;
	if (x->p < y->p || x->p > y->p)
		return x->p < y->p ? -1 : 1;
	if (x->share < y->share || x->share > y->share)
		return x->share > y->share ? -1 : 1;
	return x->number - y->number;
}

static int add_flip(const struct finalist *one, const struct flipper *f, struct err *err)
{
	struct flips_result *out = f->result;
	enum candidate_kind kind = f->list.item[one->number].kind;
	struct flip *flip = &out->flip[out->flips];

	*flip = (struct flip){.trigger = strdup(candidate_text(&f->list, one->number)),
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
	cover(c, f);
	qsort(c->finalist, (size_t)c->n, sizeof(*c->finalist), compare_finalists);
	for (int i = 0; i < c->n && rc == 0; i++)
		if (f->result->flips < FLIPS_MAX && !c->finalist[i].is_covered)
			rc = add_flip(&c->finalist[i], f, err);
		else
			f->result->left_out += c->finalist[i].is_found;
	return rc;
}

static int confirm_with(struct confirmation *c, struct flipper *f, struct err *err)
{
	int rc;

	choose_finalists(c, f);
	rc = draw_benign(c, f, err);
	if (rc == 0)
		rc = measure(&c->turns, f, &f->confirm, c->number, sample_at(c, SIZES), INFINITY, err);
	if (rc == 0)
		rc = calibrate(c, f, err);
	return rc == 0 ? fill_flips(c, f, err) : rc;
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
	for (int size = 0; size < SIZES; size++)
		tail_done(&c->tail[size]);
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
		(int64_t)(CONFIRM_FIRSTS + SIZES * (CONFIRM_SCREENED + CONFIRM_BENIGN)) * f->confirm.n;
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
